"""The paper's experiments (arXiv 2209.12330, section 4) on any model: pictures, scores, statistics, and one page."""
