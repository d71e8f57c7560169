"""What is the gradient of a solved step?"""
