// What every attention mechanism asks of a call: extents, views, the key mask, dropout. A mechanism
// adds what its own spec needs.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "longspan/attention.h"
#include "tensor/view_check.h"

namespace longspan {

// constexpr AttentionCheck CheckCall{{"full attention"}};
// CheckCall.Separate(qkv, mask, saved);
// CheckCall(view, "buckets", {B, H, R, T});
//
// Everything throws kUsage with a line that begins with the operation. T is float or bfloat16.
// `shape` is (B, H, T, D).
struct AttentionCheck : ViewCheck {
  // Separate queries and keys: all tensors of a forward pass.
  template <class T>
  void Separate(const QkvOf<T>& qkv, const KeyMask& mask, const AttentionSavedOf<T>& saved) const {
    const auto& shape = qkv.q.extent;
    Extents("q", shape);
    Inputs(qkv);
    Outputs(saved, shape);
    Tokens(mask, "the key mask", shape);
    Delta(saved.delta, shape);
  }

  // The shared form.
  template <class T>
  void Shared(const SharedQkvOf<T>& qkv, const KeyMask& mask, const SharedSavedOf<T>& saved) const {
    const auto& shape = qkv.qk.extent;
    Extents("qk", shape);
    (*this)(qkv.qk, "qk", shape);
    (*this)(qkv.v, "v", shape);
    (*this)(saved.out, "out", shape);
    Rows(saved.max, "max", shape);
    Rows(saved.sum, "sum", shape);
    Tokens(mask, "the key mask", shape);
    Delta(saved.delta, shape);
  }

  // What a backward reads and adds to.
  template <class T>
  void Backward(const View<const T, 4>& dout, const DQkv& gradients,
                const std::array<idx_t, 4>& shape) const {
    (*this)(dout, "dout", shape);
    (*this)(gradients.dq, "dq", shape);
    (*this)(gradients.dk, "dk", shape);
    (*this)(gradients.dv, "dv", shape);
  }
  template <class T>
  void Backward(const View<const T, 4>& dout, const DSharedQkv& gradients,
                const std::array<idx_t, 4>& shape) const {
    (*this)(dout, "dout", shape);
    (*this)(gradients.dqk, "dqk", shape);
    (*this)(gradients.dv, "dv", shape);
  }

  void Scale(float scale) const {
    Check(std::isfinite(scale), ErrorCode::kUsage, "{}: scale {} is not finite", operation, scale);
  }
  // Texts side by side.
  void Texts(TextStarts starts, const std::array<idx_t, 4>& shape) const {
    if (starts.empty()) return;
    Check(shape[0] == 1, ErrorCode::kUsage,
          "{}: starts of texts are given for {} rows; put all texts into one row", operation,
          shape[0]);
    Check(starts.size() >= 2 && starts[0] == 0, ErrorCode::kUsage,
          "{}: starts of texts are {} numbers, the first {}; need 0, and where each text ends",
          operation, starts.size(), starts[0]);
    for (std::size_t d = 1; d < starts.size(); ++d) {
      Check(starts[d] > starts[d - 1], ErrorCode::kUsage,
            "{}: starts[{}] is {} after {}; starts of texts must ascend, and a text has a token",
            operation, d, starts[d], starts[d - 1]);
    }
    Check(starts.back() == shape[2], ErrorCode::kUsage,
          "{}: the last of the starts is {}; it must be {}, the tokens of the row", operation,
          starts.back(), shape[2]);
  }
  void Dropout(const ProbabilityDropout& dropout) const {
    Check(dropout.p >= 0.0f && dropout.p < 1.0f, ErrorCode::kUsage,
          "{}: dropout {} is not in [0, 1)", operation, dropout.p);
  }

  // The parts of the above. `name` is a tensor, of which `shape` is the shape.
  void Extents(const char* name, const std::array<idx_t, 4>& shape) const {
    for (const idx_t extent : shape) {
      Check(extent >= 1, ErrorCode::kUsage, "{}: {} is {}, every extent must be at least 1",
            operation, name, ShapeText(std::vector<idx_t>(shape.begin(), shape.end())));
    }
  }
  template <class T>
  void Inputs(const QkvOf<T>& qkv) const {
    (*this)(qkv.q, "q", qkv.q.extent);
    (*this)(qkv.k, "k", qkv.q.extent);
    (*this)(qkv.v, "v", qkv.q.extent);
  }
  template <class T>
  void Outputs(const AttentionSavedOf<T>& saved, const std::array<idx_t, 4>& shape) const {
    (*this)(saved.out, "out", shape);
    Rows(saved.lse, "lse", shape);
  }
  // A number for each query.
  void Rows(const View<float, 3>& rows, const char* name, const std::array<idx_t, 4>& shape) const {
    (*this)(rows, name, {shape[0], shape[1], shape[2]});
  }
  void Delta(const View<float, 3>& delta, const std::array<idx_t, 4>& shape) const {
    if (!delta.empty()) Rows(delta, "delta", shape);
  }
  // A byte for each token, or an empty view.
  void Tokens(const View<const std::uint8_t, 2>& tokens, const char* name,
              const std::array<idx_t, 4>& shape) const {
    if (!tokens.empty()) (*this)(tokens, name, {shape[0], shape[2]});
  }
};

}  // namespace longspan
