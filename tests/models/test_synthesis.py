"""Synthetic sound: its physics, where it starts, and that a seed repeats it."""

import numpy as np
import pytest

from gateway_models import air, bangs, clips, fireworks, shots, street, waves
from gateway_models.scene import BANGS, scene
from gateway_models.shots import SOUND_MS, Aim, Gun

RATE_HZ = 16_000
PISTOL = Gun(0.001, 1.0, 155.0, 15.0, 380.0, 0.009, 0.018)
RIFLE = Gun(0.001, 1.0, 160.0, 15.0, 860.0, 0.0056, 0.019)


def test_air_takes_what_iso_9613_says() -> None:
    """Table of ISO 9613-1 (as in ISO 9613-2, table 2), dB/km at exact midband frequencies, 63 Hz to 8 kHz."""
    hertz = 1000.0 * 10.0 ** (0.3 * np.arange(-4, 4))
    table = {
        (10.0, 70.0): [0.122, 0.411, 1.04, 1.93, 3.66, 9.66, 32.8, 117.0],
        (20.0, 70.0): [0.090, 0.339, 1.13, 2.80, 4.98, 9.02, 22.9, 76.6],
        (15.0, 20.0): [0.271, 0.651, 1.22, 2.70, 8.17, 28.2, 88.8, 202.0],
    }
    for (celsius, humidity), expected in table.items():
        np.testing.assert_allclose(air.absorption_db_m(hertz, celsius, humidity) * 1000, expected, rtol=0.01)
    assert air.sound_speed(0.0) == pytest.approx(331.3, abs=0.2)


def test_a_blast_jumps_to_its_peak_and_sucks_after_its_positive_phase() -> None:
    for positive_s in (0.0005, 0.001, 0.004):
        rate_hz = 192_000
        wave = shots.blast(Gun(positive_s, 1.0, 155.0, 15.0, 300.0, 0.01, 0.02), rate_hz)
        assert int(np.argmax(wave)) == 0
        assert wave[0] == pytest.approx(1.0, abs=0.02)
        assert int(np.argmax(wave < 0)) / rate_hz == pytest.approx(positive_s, abs=1.5 / rate_hz)
        assert abs(wave[-1]) < 0.001
        # |FFT| of (1 - t/T) exp(-t/T) is w T^2 / (1 + w^2 T^2): loudest at 1 / (2 pi T).
        spectrum = np.abs(np.fft.rfft(wave, 1 << 18))
        loudest_hz = float(np.argmax(spectrum)) * rate_hz / (1 << 18)
        assert loudest_hz == pytest.approx(1.0 / (2.0 * np.pi * positive_s), rel=0.05)


def test_a_short_pulse_keeps_its_energy_at_a_low_rate() -> None:
    gun = Gun(0.0004, 1.0, 155.0, 15.0, 300.0, 0.01, 0.02)
    assert shots.blast(gun, 16_000).sum() / 16_000 == pytest.approx(
        shots.blast(gun, 192_000).sum() / 192_000, abs=1e-5
    )


def test_the_crack_comes_before_the_blast_by_the_geometry_of_the_mach_cone() -> None:
    # Straight ahead, bullet and blast race: d / c - d / v.
    ahead = shots.lead_s(Aim(300.0, 1e-6, 800.0), 860.0)
    assert ahead == pytest.approx(300.0 / SOUND_MS - 300.0 / 860.0, abs=1e-4)
    # Anywhere: the quickest of all ways "along the line of fire as a bullet, then off as sound" (Fermat).
    for angle in (0.2, 0.6, 1.0):
        x, y = 200.0 * np.cos(angle), 200.0 * np.sin(angle)
        leaves = np.linspace(0.0, 400.0, 40_001)
        ways = leaves / 860.0 + np.hypot(x - leaves, y) / SOUND_MS
        expected = 200.0 / SOUND_MS - ways.min()
        assert shots.lead_s(Aim(200.0, angle, 800.0), 860.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("aim", "bullet_ms", "why"),
    [
        (Aim(200.0, 0.3, 800.0), 260.0, "a .45 is subsonic"),
        (Aim(200.0, 2.5, 800.0), 860.0, "behind the gun"),
        (Aim(200.0, 1.4, 800.0), 860.0, "outside the cone: acos(c / v) is 1.16"),
        (Aim(200.0, 0.1, 50.0), 860.0, "the bullet hit something after 50 m"),
    ],
)
def test_where_no_crack_is_heard(aim: Aim, bullet_ms: float, why: str) -> None:
    assert shots.lead_s(aim, bullet_ms) is None, why


def test_the_n_wave_is_that_of_a_small_supersonic_body() -> None:
    """A 5.56 mm rifle bullet 10 m away: some 300 Pa for some 0.2 ms (Maher 2006); longer farther away."""
    near, far = shots.shock(RIFLE, 10.0), shots.shock(RIFLE, 160.0)
    assert 100.0 < near[0] < 400.0
    assert 0.0001 < near[1] < 0.0003
    assert far[0] / near[0] == pytest.approx(16.0**-0.75)
    assert far[1] / near[1] == pytest.approx(2.0)
    wave = shots.n_wave(0.0005, 192_000)
    assert wave[0] > 0.95
    assert wave.min() < -0.9
    assert abs(wave.sum()) < 0.05 * np.abs(wave).sum()


def test_a_gun_is_weaker_from_behind_and_from_afar() -> None:
    front = shots.blast_pa(PISTOL, Aim(1.0, 0.0, 100.0))
    assert 20 * np.log10(front / 20e-6) == pytest.approx(PISTOL.blast_db)
    assert 20 * np.log10(front / shots.blast_pa(PISTOL, Aim(1.0, np.pi, 100.0))) == pytest.approx(15.0)
    assert front / shots.blast_pa(PISTOL, Aim(100.0, 0.0, 100.0)) == pytest.approx(100.0)


def test_a_shot_says_when_its_parts_arrive() -> None:
    wave, arrivals = shots.shot(RIFLE, Aim(200.0, 0.5, 800.0), RATE_HZ)
    lead = shots.lead_s(Aim(200.0, 0.5, 800.0), 860.0)
    assert lead is not None
    assert arrivals == (0, int(lead * RATE_HZ))
    assert np.abs(wave[arrivals[1] - 100 : arrivals[1]]).max() < 1e-9 < np.abs(wave[arrivals[1]])
    assert shots.shot(PISTOL, Aim(200.0, 2.5, 800.0), RATE_HZ)[1] == (0,)


def test_about_a_fifth_of_the_shots_have_a_crack() -> None:
    rng = np.random.default_rng(1)
    leads = [shots.lead_s(shots.draw_aim(rng, 300.0), shots.draw_gun(rng).bullet_ms) for _ in range(400)]
    heard = [lead for lead in leads if lead is not None]
    assert 0.12 < len(heard) / len(leads) < 0.3
    assert all(0.0 <= lead < 0.6 for lead in heard)
    assert 0.005 < np.median(heard) < 0.25


def test_filters_are_causal_and_halve_the_power_at_their_corner() -> None:
    click = np.zeros(4_000)
    click[1_000] = 1.0
    for filtered in (waves.low_pass(click, RATE_HZ, 1_000), waves.high_pass(click, RATE_HZ, 1_000)):
        assert np.abs(filtered[:990]).max() < 0.02 * np.abs(filtered).max()
    time = waves.seconds(RATE_HZ, RATE_HZ)
    tone = np.sin(2 * np.pi * 1_000 * time)
    for one in (waves.low_pass(tone, RATE_HZ, 1_000, 1), waves.high_pass(tone, RATE_HZ, 1_000, 1)):
        assert waves.rms(one[4_000:]) == pytest.approx(waves.rms(tone) / np.sqrt(2), rel=0.02)


def test_a_minimum_phase_response_has_its_magnitude_and_no_lead() -> None:
    magnitude = 1.0 / (1.0 + (np.arange(513) / 60.0) ** 2)
    response = waves.minimum_phase(magnitude)
    np.testing.assert_allclose(np.abs(np.fft.rfft(response)), magnitude, rtol=1e-3, atol=1e-4)
    assert int(np.argmax(np.abs(response))) < 20
    assert np.sum(response[:200] ** 2) > 0.999 * np.sum(response**2)


@pytest.mark.parametrize("count", [1, 2, 7, 160, 65_537, 70_401])
def test_fast_lengths_are_the_next_without_big_factors(count: int) -> None:
    def smooth(number: int) -> bool:
        for factor in (2, 3, 5):
            while number % factor == 0:
                number //= factor
        return number == 1

    assert waves.fast_length(count) == next(n for n in range(count, 2 * count + 1) if smooth(n))


@pytest.mark.parametrize("kind", BANGS)
def test_every_kind_of_bang_is_a_sound_of_peak_one(kind: str) -> None:
    wave = bangs.bang(np.random.default_rng(3), RATE_HZ, kind)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() == pytest.approx(1.0)


def test_fireworks_go_on_after_the_first_second() -> None:
    later = 0
    for seed in range(20):
        wave = fireworks.firework(np.random.default_rng(seed), RATE_HZ)
        later += waves.rms(wave[RATE_HZ:]) > 0.05 * waves.rms(wave[:RATE_HZ])
    assert 8 < later < 20


def test_a_whistle_is_one_tone_that_slides() -> None:
    wave = fireworks.whistle(np.random.default_rng(5), RATE_HZ)
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    spectrum = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    loudest = spectrum.argmax(axis=1)
    assert loudest[2:-2].std() > 1.0
    assert np.abs(np.diff(loudest[2:-2])).max() < 20


def test_a_street_delays_nothing_before_the_direct_sound() -> None:
    for seed in range(5):
        click = np.pad(np.array([1.0]), (200, 200))
        heard = street.travel(np.random.default_rng(seed), click, RATE_HZ, street.FAR)
        assert np.abs(heard[:195]).max() < 0.02


def test_far_away_the_highs_are_gone() -> None:
    def highs(distance_m: float) -> float:
        place = street.Place((1, 1), (0, 0), (0.1, 0.1), (0.1, 0.1), (0.3, 0.3), (-60, -60), (7_900, 8_000))
        power = np.abs(np.fft.rfft(street.response(np.random.default_rng(3), 16_000, place, distance_m))) ** 2
        at = np.linspace(0, 8_000, len(power))
        return float(
            10 * np.log10(power[(at > 3_500) & (at < 4_500)].mean() / power[(at > 100) & (at < 500)].mean())
        )

    assert highs(10.0) - highs(800.0) > 10.0


def test_a_clip_says_when_its_rounds_arrive() -> None:
    for seed in range(4):
        drawn = clips.gunshots(np.random.default_rng(seed))
        assert drawn.arrivals[0] == drawn.first
        assert np.abs(drawn.wave[drawn.first : drawn.first + 800]).max() > 0.01


def test_a_seed_repeats_its_clips() -> None:
    for draw in (clips.gunshots, clips.something_else):
        one, same = draw(np.random.default_rng(5)), draw(np.random.default_rng(5))
        np.testing.assert_array_equal(one.wave, same.wave)
        assert len(one.wave) == clips.CLIP_S * RATE_HZ


def test_a_scene_is_repeatable_and_holds_what_was_asked_for() -> None:
    one, same = (scene(3.0, 16_000, 1, [1.0], [(2.0, "door")]) for _ in range(2))
    other = scene(3.0, 16_000, 2)
    np.testing.assert_array_equal(one, same)
    assert (one.dtype, one.shape) == (np.dtype(np.int16), (48_000,))
    assert np.abs(one[15_900:16_500]).max() > 5 * np.abs(one[:15_900]).max()
    assert np.abs(other).max() < 3_000
    with pytest.raises(KeyError):
        scene(1.0, 16_000, 1, [], [(0.5, "unicorn")])
