import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation.codes import HeadDirectionCode, PlaceCode
from tests.shared import shared

BOX = (2.2, 2.2)
KINDS = ("softmax", "gaussian", "difference")


def place_code(n_cells=512, width=0.2, **fields):
    return PlaceCode.random(jax.random.key(0), n_cells, BOX, width, **fields)


def places(n=200, share=1.0, seed=1):
    drawn = np.random.default_rng(seed).uniform(-1.1, 1.1, (n, 2))
    return jnp.asarray(share * drawn, jnp.float32)


activation = jax.jit(lambda code, at: code.activation(at))
decode = jax.jit(
    lambda code, told, method="top_k", n_active=3: code.decode(told, method, n_active),
    static_argnames=("method", "n_active"),
)


def cases(name):
    with np.load(shared("reference/reactivation") / name) as arrays:
        found = {key: arrays[key] for key in arrays.files}
    for case in sorted({key.split("/")[0] for key in found}):
        yield (
            case,
            {
                key.removeprefix(f"{case}/"): value
                for key, value in found.items()
                if key.startswith(f"{case}/")
            },
        )


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_place_cells_are_the_published_ones():
    with jax.enable_x64(True):
        for _, case in cases("task_spatial.npz"):
            width, surround = case["scalars"][-2:]
            at = case["target_pos"][:, :: int(case["activation_every"])]
            for key, kind in (
                ("activation", "softmax"),
                ("activation_dog_intended", "difference"),
            ):
                code = PlaceCode(case["cell_centres"], width, kind, surround)
                assert_close(activation(code, at), case[key])
            assert_close(decode(code, case["decode_in"]), case["decoded_pos_top3"])


def test_head_direction_cells_are_the_published_ones():
    with jax.enable_x64(True):
        for _, case in cases("task_hd.npz"):
            code = HeadDirectionCode(case["preferred"], case["scalars"][-1])
            assert_close(activation(code, case["target_hd"]), case["activation"])
            decoded = decode(code, case["decode_in"])
            apart = code.distance(decoded, case["decoded_hd_top3"])
            assert_close(apart, np.zeros(apart.shape))
            n_cells = len(case["preferred"])
            regular = HeadDirectionCode.regular(n_cells, 0.5, duplicated_end=True)
            assert_close(regular.preferred, case["preferred"])


def test_softmax_and_difference_codes_sum_to_one_and_gaussians_peak_at_one():
    at = places()
    for kind in ("softmax", "difference"):
        told = activation(place_code(kind=kind), at)
        np.testing.assert_allclose(told.sum(axis=-1), 1, rtol=1e-5)
        assert (told >= 0).all()
    code = place_code(kind="gaussian")
    own = activation(code, code.centres)
    np.testing.assert_allclose(jnp.diagonal(own), 1)
    assert own.max() <= 1


def test_a_softmax_code_is_the_gaussian_one_normalised():
    gaussian = activation(place_code(kind="gaussian"), places())
    softmax = activation(place_code(), places())
    np.testing.assert_allclose(
        softmax, gaussian / gaussian.sum(-1, keepdims=True), rtol=1e-4
    )


def test_a_wider_surround_leaves_more_of_the_centre():
    at = jnp.zeros((1, 2))
    peaks = [
        activation(place_code(kind="difference", surround=surround), at).max()
        for surround in (1.1, 2.0, 8.0)
    ]
    assert peaks[0] < peaks[1] < peaks[2]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_a_place_finds_it_again(kind):
    code, at = place_code(kind=kind), places(share=0.7)
    apart = code.distance(decode(code, activation(code, at)), at)
    assert apart.mean() < 0.06
    assert apart.max() < 0.15


def test_the_population_vector_is_exact_where_cells_are_even():
    axis = np.linspace(-3, 3, 61)
    centres = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    code, at = PlaceCode(centres, 0.2), places(share=0.7)
    found = decode(code, activation(code, at), "population_vector")
    np.testing.assert_allclose(found, at, atol=1e-5)
    heading = jnp.linspace(-3.14, 3.14, 50)[:, None]
    cells = HeadDirectionCode.regular(40, 0.5)
    found = decode(cells, activation(cells, heading), "population_vector")
    np.testing.assert_allclose(found, heading, atol=1e-5)


def test_top_k_sees_ranks_alone_and_the_population_vector_what_is_above_zero():
    code = place_code()
    told = activation(code, places())
    np.testing.assert_array_equal(decode(code, told), decode(code, 0.25 * told))
    by_vector = decode(code, told, "population_vector")
    below = jnp.where(told > 1e-4, told, -1.0)
    np.testing.assert_allclose(
        decode(code, below, "population_vector"), by_vector, atol=0.05
    )


def test_k_is_how_many_cells_are_averaged():
    code = PlaceCode(np.array([[0.0], [1.0], [5.0]]), 1.0)
    told = jnp.array([3.0, 2.0, 1.0])
    found = [float(decode(code, told, n_active=k)[0]) for k in (1, 2, 3)]
    np.testing.assert_allclose(found, [0, 0.5, 2])


def test_silent_cells_tell_the_mean_of_all_places_and_no_nan():
    code = place_code()
    found = decode(code, -jnp.ones(512), "population_vector")
    np.testing.assert_allclose(found, code.centres.mean(axis=0), atol=1e-6)


def test_turning_the_world_turns_the_head_direction_code():
    code = HeadDirectionCode.regular(24, 0.5)
    heading = jnp.linspace(-3, 3, 7)[:, None]
    turned = activation(code, heading + 5 * 2 * np.pi / 24)
    np.testing.assert_allclose(
        turned, jnp.roll(activation(code, heading), 5, axis=-1), atol=1e-6
    )
    moved = decode(code, turned) - decode(code, activation(code, heading))
    np.testing.assert_allclose(jnp.cos(moved), np.cos(5 * 2 * np.pi / 24), atol=1e-6)


@pytest.mark.parametrize("spread", [0.1, 0.5, np.pi / 6, 3.0])
def test_heading_cells_are_their_fourier_series(spread):
    with jax.enable_x64(True):
        cells = HeadDirectionCode.regular(30, spread)
        headings = np.random.default_rng(0).uniform(-9, 9, (40, 1))
        features, mixing = cells.factors(headings)
        found = features @ mixing
        np.testing.assert_allclose(found, cells.activation(headings), atol=2e-15)
    features, mixing = cells.factors(np.float32(headings))
    expected = cells.activation(np.float32(headings))
    np.testing.assert_allclose(features @ mixing, expected, atol=2e-5)


def test_a_mirrored_box_mirrors_the_place_code():
    code = place_code(n_cells=100)
    mirrored = PlaceCode(code.centres * jnp.array([[-1.0, 1.0]]), 0.2)
    at = places()
    found = activation(mirrored, at * jnp.array([[-1.0, 1.0]]))
    np.testing.assert_allclose(found, activation(code, at), rtol=1e-5)


def test_distances_are_euclidean_or_around_the_circle():
    assert place_code().distance(jnp.zeros(2), jnp.array([3.0, 4.0])) == 5
    heads = HeadDirectionCode.regular(8, 0.5)
    apart = heads.distance(jnp.array([[3.1], [0.5]]), jnp.array([[-3.1], [-0.5]]))
    np.testing.assert_allclose(apart, [2 * np.pi - 6.2, 1.0], rtol=1e-5)
    assert heads.periodic
    assert not place_code().periodic


def test_leading_dimensions_are_a_batch():
    for code, n_space in ((place_code(), 2), (HeadDirectionCode.regular(9, 0.5), 1)):
        at = jnp.linspace(-1, 1, 12 * n_space).reshape(3, 4, n_space)
        told = activation(code, at)
        assert told.shape == (3, 4, code.n_cells)
        assert decode(code, told).shape == at.shape
        np.testing.assert_allclose(told[1, 2], activation(code, at[1, 2]), rtol=1e-5)


def test_cells_are_drawn_from_everywhere_in_the_box():
    code = PlaceCode.random(jax.random.key(3), 4000, (1.0, 4.0), 0.1)
    np.testing.assert_allclose(jnp.abs(code.centres).max(axis=0), [0.5, 2], rtol=0.01)
    np.testing.assert_allclose(
        jnp.var(code.centres, axis=0), [1 / 12, 16 / 12], rtol=0.05
    )


def test_the_same_key_draws_the_same_cells_in_both_precisions():
    single = place_code(50).centres
    with jax.enable_x64(True):
        np.testing.assert_array_equal(place_code(50).centres, single)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlaceCode(np.zeros(3), 0.1), r"centres: got shape \(3,\)"),
        (lambda: PlaceCode(np.full((3, 2), np.nan), 0.1), "centres: got 6 values"),
        (lambda: PlaceCode(np.zeros((3, 2)), -1.0), "width: got -1.0"),
        (lambda: PlaceCode(np.zeros((3, 2)), 1.0, "gausian"), "'gaussian'?"),
        (lambda: place_code(surround=1.0), "surround: got 1.0"),
        (lambda: place_code(0), "n_cells: got 0"),
        (lambda: HeadDirectionCode(np.zeros((2, 2)), 1.0), "preferred: got shape"),
        (lambda: HeadDirectionCode.regular(4, 0.0), "spread: got 0.0"),
        (
            lambda: place_code(2).decode(jnp.zeros(2)),
            "n_active: got 3, expected at most",
        ),
        (lambda: place_code().decode(jnp.zeros(512), "topk"), "method: got 'topk'"),
    ],
)
def test_bad_codes_are_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_a_wrong_shape_is_a_shape_error():
    with pytest.raises(ShapeError):
        PlaceCode(np.zeros(3), 0.1)
