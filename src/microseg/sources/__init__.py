"""Where micrographs come from; every source fills a folder with the same raw dataset."""
