"""The U-Net has the weights of the study, takes any size, and can trade time for memory."""

import pytest
import torch

from microseg.network.unet import UNet, pad_to_multiple


def test_has_the_weights_of_the_study():
    # 3 x 3 convolutions, 2 x 2 ones on the way up, a 1 x 1 one at the end, all with biases; worked out by hand.
    widths = [64, 128, 256, 512, 1024]
    down = sum(9 * i * o + o + 9 * o * o + o for i, o in zip([1, *widths], widths, strict=False))
    up = sum(4 * 2 * w * w + w + 9 * 2 * w * w + w + 9 * w * w + w for w in widths[:-1])
    count = sum(weight.numel() for weight in UNet(64).parameters())
    assert count == down + up + 64 + 1
    assert round(count / 1e6, 1) == 31.0


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (33, 47), (1, 1), (20, 300)])
def test_takes_any_size_and_gives_it_back(size):
    assert UNet(1)(torch.zeros(2, 1, *size)).shape == (2, 1, *size)


def test_a_size_that_fits_is_not_padded():
    images = torch.rand(1, 1, 32, 48)
    assert pad_to_multiple(images) is images


def test_padding_repeats_the_border_on_all_sides():
    padded = pad_to_multiple(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert padded.shape == (1, 1, 16, 16)
    assert padded[0, 0, :8, :8].unique().tolist() == [1.0]
    assert padded[0, 0, 8:, 8:].unique().tolist() == [4.0]


def test_the_crop_undoes_the_padding():
    network = UNet(2)
    image = torch.rand(1, 1, 40, 52)
    by_hand = network(pad_to_multiple(image))[..., 4:44, 6:58]
    assert torch.equal(network(image), by_hand)


def test_activation_checkpointing_gives_the_same_gradients():
    gradients = []
    for activation_checkpointing in (False, True):
        torch.manual_seed(0)
        network = UNet(4, activation_checkpointing)
        network(torch.linspace(-1, 1, 2 * 48 * 48).reshape(2, 1, 48, 48)).square().mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    assert all(torch.equal(stored, recomputed) for stored, recomputed in zip(*gradients, strict=True))


def test_activation_checkpointing_stores_less():
    def stored_bytes(activation_checkpointing: bool) -> int:
        network = UNet(4, activation_checkpointing)
        sizes: dict[int, int] = {}

        def note(tensor):
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            kept = network(torch.zeros(1, 1, 64, 64))
        assert kept.requires_grad
        return sum(sizes.values()) - sum(weight.nbytes for weight in network.parameters())

    # A level stores two maps in the encoder and four in the decoder, or one and three of them.
    assert stored_bytes(True) < 0.85 * stored_bytes(False)
