"""Figures as people read them."""


def short(value: float) -> str:
    """Three significant digits, and never an exponent for a large figure: 0.400, 1.50, 16.7, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
