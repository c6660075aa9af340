"""Networks that take noisy tokens and a noise level for each of them."""
