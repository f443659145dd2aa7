"""What a group of element-wise ops and row reductions computes, its gradient, and where such groups lie in a plan."""
