"""Reading and writing images, and what is known about each micrograph."""
