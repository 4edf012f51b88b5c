"""Where micrographs and initial weights come from; every source of micrographs writes the same raw dataset."""
