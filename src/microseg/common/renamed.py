"""Parameters and values that have a new name: the old one is refused with it."""

RENAMED = {
    "train.encoder_lr": "train.encoder_lr_multiplier",
    "train.normalisation": "train.norm_layer",
    "train.scale": "train.downsample",
    "train.crop": "train.crop_size",
    "train.foreground_fraction": "train.foreground_oversampling",
    "train.accumulate_batches": "train.accumulate_grad_batches",
    "train.fall": "train.decay_fraction",
    "train.weight_average": "train.ema_decay",
    "train.gradient_clip": "train.max_grad_norm",
    "train.early_stopping": "train.early_stopping_patience",
    "train.keep": "train.checkpoint",
    "train.keep_epochs": "train.checkpoint_epochs",
    "train.grey_values": "train.input_normalization",
    "train.augment.symmetries": "train.augment.flips",
    "train.augment.noise": "train.augment.noise_std",
    "train.augment.blur": "train.augment.blur_sigma",
    "train.augment.zoom": "train.augment.scale_jitter",
    "train.augment.erase": "train.augment.random_erasing",
    "train.workers": "train.num_workers",
    "train.nodes": "train.num_nodes",
    "predict.parts": "predict.subset",
    "predict.calibrate": "predict.temperature_scaling",
    "predict.tile": "predict.tile_size",
    "predict.overlap": "predict.tile_overlap",
    "predict.symmetries": "predict.tta",
}
"""Keys that were renamed in version 0.2, with their new names."""

RENAMED_VALUES = {
    ("train.schedule", "rise_hold_fall"): "wsd",
    ("train.input_normalization", "per_image"): "zscore",
    ("train.augment.flips", "all"): "d4",
    ("train.augment.flips", "mirror"): "hflip",
    ("predict.tta", "all"): "d4",
    ("predict.tta", "mirror"): "hflip",
}
"""Values that were renamed in version 0.2, by key and old value."""
