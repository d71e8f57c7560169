"""How hard do moving bodies push each other?"""
