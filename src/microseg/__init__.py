"""From polygon annotations of micrographs to a trained U-Net and its measured intersection over union."""
