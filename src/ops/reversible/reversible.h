// Reversible residual layers (Gomez et al. 2017; Reformer, section 3): y1 = x1 + f(x2),
// y2 = x2 + g(y1). The inputs are computed back from the outputs, so the memory for activations
// does not grow with the depth: to rounding on streams of fp32, exactly on a grid.
#pragma once

#include <functional>

#include "streams/residual_stream.h"

namespace longspan {

// A residual function of any kind: attention, feed-forward. x and y are (T, C).
struct ReversibleBranch {
  // y += f(x)
  std::function<void(const ResidualStream& x, const ResidualStream& y)> add;
  // y -= f(x), the very bits that add() added, and dx += f'(x)^T dy; parameter gradients
  // accumulate inside.
  std::function<void(const ResidualStream& x, const ResidualStream& y, const ResidualStream& dy,
                     const ResidualStream& dx)>
      reverse;
};

// In place: (x1, x2) becomes (y1, y2).
void ReversibleForward(const ReversibleBranch& f, const ReversibleBranch& g,
                       const ResidualStream& x1, const ResidualStream& x2);

// In place: (y1, y2) becomes (x1, x2), (dy1, dy2) becomes (dx1, dx2).
void ReversibleBackward(const ReversibleBranch& f, const ReversibleBranch& g,
                        const ResidualStream& y1, const ResidualStream& y2,
                        const ResidualStream& dy1, const ResidualStream& dy2);

}  // namespace longspan
