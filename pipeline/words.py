"""Figures as people read them."""


def short(value: float) -> str:
    """Three significant digits, never an exponent for what is measured here: 0.0123, 1.5, 16.7, 1,234."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" if abs(value) >= 1 else f"{value:.3g}"
