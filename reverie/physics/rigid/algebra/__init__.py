"""What do the kernels of articulated bodies compute with?"""
