"""Was it right, and does it know when it is not?"""
