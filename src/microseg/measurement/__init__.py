"""What the masks of micrographs say about the material: fields, islands, specimens, and the report on them."""
