#include "ops/reversible/reversible.h"

#include "base/errors.h"

namespace longspan {
namespace {

void CheckStream(const char* name, const View<float, 2>& stream, const View<float, 2>& x1) {
  Check(stream.extent == x1.extent, ErrorCode::kUsage,
        "reversible layer: {} has shape {}, the first stream has {}", name, ShapeText(stream),
        ShapeText(x1));
  Check(stream.size() == 0 || stream.data != x1.data, ErrorCode::kUsage,
        "reversible layer: {} and the first stream are the same memory", name);
}

}  // namespace

void ReversibleForward(const ReversibleBranch& f, const ReversibleBranch& g,
                       const View<float, 2>& x1, const View<float, 2>& x2) {
  CheckStream("x2", x2, x1);
  f.add(x2, x1);  // y1 = x1 + f(x2)
  g.add(x1, x2);  // y2 = x2 + g(y1)
}

void ReversibleBackward(const ReversibleBranch& f, const ReversibleBranch& g,
                        const View<float, 2>& y1, const View<float, 2>& y2,
                        const View<float, 2>& dy1, const View<float, 2>& dy2) {
  CheckStream("y2", y2, y1);
  CheckStream("dy1", dy1, y1);
  CheckStream("dy2", dy2, y1);
  g.reverse(y1, y2, dy2, dy1);  // x2 = y2 - g(y1), dy1 += g'(y1)^T dy2: now d loss / d y1 in full
  f.reverse(y2, y1, dy1, dy2);  // x1 = y1 - f(x2), dx2 = dy2 + f'(x2)^T dy1; dx1 = dy1
}

}  // namespace longspan
