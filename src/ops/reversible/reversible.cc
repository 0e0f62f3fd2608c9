#include "ops/reversible/reversible.h"

#include "base/errors.h"

namespace longspan {
namespace {

std::string Shape(const ResidualStream& x) {
  return ShapeText(std::vector<idx_t>(x.extent.begin(), x.extent.end()));
}

void CheckStream(const char* name, const ResidualStream& stream, const ResidualStream& x1) {
  Check(stream.extent == x1.extent, ErrorCode::kUsage,
        "reversible layer: {} has shape {}, the first stream has {}", name, Shape(stream),
        Shape(x1));
  Check(stream.extent[0] * stream.extent[1] == 0 || stream.data != x1.data, ErrorCode::kUsage,
        "reversible layer: {} and the first stream are the same memory", name);
}

}  // namespace

void ReversibleForward(const ReversibleBranch& f, const ReversibleBranch& g,
                       const ResidualStream& x1, const ResidualStream& x2) {
  CheckStream("x2", x2, x1);
  f.add(x2, x1);  // y1 = x1 + f(x2)
  g.add(x1, x2);  // y2 = x2 + g(y1)
}

void ReversibleBackward(const ReversibleBranch& f, const ReversibleBranch& g,
                        const ResidualStream& y1, const ResidualStream& y2,
                        const ResidualStream& dy1, const ResidualStream& dy2) {
  CheckStream("y2", y2, y1);
  CheckStream("dy1", dy1, y1);
  CheckStream("dy2", dy2, y1);
  g.reverse(y1, y2, dy2, dy1);  // x2 = y2 - g(y1), dy1 += g'(y1)^T dy2: now d loss / d y1 in full
  f.reverse(y2, y1, dy1, dy2);  // x1 = y1 - f(x2), dx2 = dy2 + f'(x2)^T dy1; dx1 = dy1
}

}  // namespace longspan
