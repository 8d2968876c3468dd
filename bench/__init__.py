"""The speeds that are promised, measured as ratios in one run on the lab's kind of site (`make bench`)."""
