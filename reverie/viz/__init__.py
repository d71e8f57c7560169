"""Can a person see it?"""
