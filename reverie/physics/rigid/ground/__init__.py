"""Where do bodies touch, and how hard does the world push?"""
