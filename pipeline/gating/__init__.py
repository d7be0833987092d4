"""What the gate holds budgets against, and how its verdict is told."""
