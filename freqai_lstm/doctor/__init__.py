"""Which row of the page of symptoms applies?"""
