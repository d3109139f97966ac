"""Linear stability of electrodeposition at the interface of two elastic, isotropic solids.

A flat interface is displaced by a small wave. Its stresses change the electrochemical potential of the electrons: if it falls at
the peaks, metal is deposited more slowly there, and the wave dies out.

Source:
    Monroe & Newman, J. Electrochem. Soc. 152, A396 (2005), the potential of a deformed interface; Ahmad & Viswanathan, Phys. Rev.
    Lett. 119, 056003 (2017), two solids and the two stable regimes; Ahmad et al., ACS Cent. Sci. 4, 996 (2018), the screening.
    The elastic fields are solved here in closed form, so that constants may differ from theirs; signs and regimes do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray

LITHIUM_SHEAR = 3.4  # GPa, polycrystalline lithium (Ahmad et al. 2018)
LITHIUM_POISSON = 0.42  # of lithium (Monroe & Newman 2005)
LITHIUM_MOLAR_VOLUME = 13.02  # cm^3/mol: 6.941 g/mol at 0.533 g/cm^3
SURFACE_ENERGY = 0.556  # J/m^2, of lithium and electrolyte (Ahmad & Viswanathan 2017)
WAVE_NUMBER = 1e8  # 1/m, of the wave (Ahmad & Viswanathan 2017)
POISSON_LIMITS = (-0.99, 0.4999)  # of stable isotropic solids: -1 to 1/2, both excluded


@dataclass(frozen=True, slots=True)
class _Stress:
    """Stresses of a half-space at the peak of a wave of height 1 and wave number 1, tensions positive.

    Attributes:
        pressure: hydrostatic pressure.
        normal: deviatoric stress along the normal.
        shear: coefficient of the shear stress, which varies as the sine.
    """

    pressure: FloatArray
    normal: FloatArray
    shear: FloatArray


def poisson_ratio(bulk: FloatArray, shear: FloatArray) -> FloatArray:
    """Poisson ratio of an isotropic solid, within its stable limits.

    Args:
        bulk, shear: moduli in the same unit, of one shape.
    """
    ratio = (3.0 * bulk - 2.0 * shear) / (2.0 * (3.0 * bulk + shear))
    clipped: FloatArray = np.clip(ratio, *POISSON_LIMITS)
    return clipped


def stability_parameter(
    shear: FloatArray, poisson: FloatArray, volume_ratio: FloatArray | float
) -> FloatArray:
    """Stability parameter of an electrolyte on lithium metal, kJ/mol/nm; negative is stable.

    It is the change of the electrons' potential at a peak, for one nanometre of height: pressure, shear stress and surface
    energy. Stable are soft solids that hold lithium in less volume than the metal (density-driven), and stiff ones
    that hold it in more (pressure-driven).

    Args:
        shear: shear moduli of the electrolytes in GPa, shape (n,).
        poisson: their Poisson ratios, shape (n,).
        volume_ratio: molar volume of lithium in the electrolyte over that in the metal, shape (n,) or one number.
    """
    shear, poisson = np.asarray(shear, dtype=np.float64), np.asarray(poisson, dtype=np.float64)
    metal_shear, metal_poisson = np.full_like(shear, LITHIUM_SHEAR), np.full_like(poisson, LITHIUM_POISSON)

    def find_stresses(sideways: float | FloatArray) -> tuple[_Stress, _Stress]:
        metal = _solve_half_space(metal_shear, metal_poisson, -1.0, sideways)
        return metal, _solve_half_space(shear, poisson, 1.0, sideways)

    # The interface slides sideways until shear stresses balance; both are linear in that displacement.
    at_rest, moved = find_stresses(0.0), find_stresses(1.0)
    gap = at_rest[0].shear - at_rest[1].shear
    slope = moved[0].shear - moved[1].shear - gap
    metal, electrolyte = find_stresses(-gap / slope)
    surface = SURFACE_ENERGY * WAVE_NUMBER * 1e-9  # GPa
    shift: FloatArray = -0.5 * (1.0 + volume_ratio) * (metal.normal - electrolyte.normal + surface) + 0.5 * (
        1.0 - volume_ratio
    ) * (metal.pressure + electrolyte.pressure)
    # cm^3/mol GPa = kJ/mol; one nanometre of height is WAVE_NUMBER * 1e-9 in units of the inverse wave number
    return shift * LITHIUM_MOLAR_VOLUME * WAVE_NUMBER * 1e-9


def _solve_half_space(
    shear: FloatArray, poisson: FloatArray, side: float, sideways: float | FloatArray
) -> _Stress:
    """Stresses at the surface of a half-space that follows the wave, in plane strain.

    With z pointing inwards, the fields u_x = (c + b z) exp(-z) sin x and u_z = (a + b z) exp(-z) cos x solve Navier's
    equations where b = (a - c) / (3 - 4 poisson).

    Args:
        shear: modulus.
        poisson: ratio.
        side: 1 for the half-space above the interface, -1 below.
        sideways: amplitude c of the sliding.
    """
    inwards = side * 1.0  # the wave moves the surface up: into the upper solid, out of the lower one
    decay = (inwards - sideways) / (3.0 - 4.0 * poisson)
    divergence = sideways + decay - inwards
    lame = 2.0 * shear * poisson / (1.0 - 2.0 * poisson)
    pressure = -(lame + 2.0 * shear / 3.0) * divergence
    normal = lame * divergence + 2.0 * shear * (decay - inwards) + pressure
    return _Stress(pressure, normal, side * shear * (decay - sideways - inwards))
