"""Where do boxes and meshes touch each other?"""
