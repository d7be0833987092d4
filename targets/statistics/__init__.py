"""What a series of latencies says: order statistics, correlation, trend, warm-up and ratios. numpy alone, because the
process that measures imports it."""
