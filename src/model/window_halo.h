// Window attention where ranks share rows (world/row_group.h): each attends with the queries of its
// own tokens, and gets of others the keys and values that their windows reach, the halo. Queries
// that see nothing of it are computed while it travels.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "longspan/attention.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/halo_exchange.h"
#include "model/heads_exchange.h"
#include "ops/window_attention/window_slab.h"
#include "world/row_group.h"

namespace longspan {

// A batch's texts: B rows of T tokens, or with `starts` (longspan/attention.h) those of one row.
struct WindowTexts {
  idx_t rows = 1, tokens = 0;
  TextStarts starts{};
  TokenRoles roles{};  // (B, T), contiguous, or empty
};

// Which tokens of all N = B*T each rank has, and which it sees. A rank's rows of a layer's tensors
// are those of the tokens before its slab that its windows reach, its own, and those after it.
class WindowHalo {
 public:
  // Nothing where heads travel instead: without a group, where a token is global, and where some
  // rank sees more tokens of others than the smallest slab has, for which heads travel more
  // cheaply. The same answer on all ranks. `spec` is the layer's: its dropout is that of all
  // heads, and global tokens and starts are those of `texts`, which must outlive this.
  static std::optional<WindowHalo> Of(RowGroup* group, const WindowSpec& spec,
                                      const HeadColumns& columns, const WindowTexts& texts);

  idx_t own() const { return mine_.size(); }
  // Rows that tensors with a halo have: those of the rank that sees most.
  idx_t rows() const { return rows_; }
  // The own rows of such a tensor.
  template <class T>
  View<T, 2> Own(const View<T, 2>& x) const {
    return x.Rows(before_, own());
  }

  // The forward writes these of the own tokens for the backward.
  template <class T>
  struct Saved {
    View<T, 2> out;      // (own(), H D)
    View<float, 3> lse;  // (1, H, own())
  };
  // qkv (rows(), 3 H D) has queries, keys and values of the own tokens; it gets keys and values of
  // the others. Together.
  template <class T>
  void Forward(Context& context, const View<T, 2>& qkv, const Saved<T>& saved) const;
  // dqkv (rows(), 3 H D), zeroed, gets the gradients of the own tokens in their rows, for
  // d loss / d out = dout (own(), H D). `qkv` is what the forward left. Together.
  template <class T>
  void Backward(Context& context, const View<T, 2>& qkv, const Saved<T>& saved,
                const View<const T, 2>& dout, const View<float, 2>& dqkv) const;

 private:
  WindowHalo(RowGroup& group, const WindowSpec& spec, const HeadColumns& columns,
             const WindowTexts& texts);

  // Tokens of others before and after a slab.
  struct Halo {
    idx_t before = 0, after = 0;
  };
  Halo HaloOf(const TokenSlab& slab) const;
  std::size_t TextOf(idx_t token) const;
  idx_t LengthOf(std::size_t text) const { return borders_[text + 1] - borders_[text]; }
  // How far windows reach in a text, both ways.
  Halo ReachIn(std::size_t text) const;
  void AddSeen(int viewer);

  // Queries of one text: the slab's begin and end count from the text's first token.
  struct Piece {
    std::size_t text = 0;
    WindowSlab slab;
  };
  void AddPieces(std::size_t text);
  void AddPiece(std::size_t text, idx_t begin, idx_t end, std::vector<Piece>* pieces) const;
  WindowSpec SpecOf(const Piece& piece) const;
  TokenRoles RolesOf(const Piece& piece) const;
  idx_t QueryRow(const Piece& piece) const;  // the first one's, among the own tokens
  idx_t KeyRow(const Piece& piece) const {   // of tensors with a halo
    return QueryRow(piece) + before_ - piece.slab.before;
  }
  // Work of the inner pieces: 4 D flop a pair of query and key and head forwards, 10 D backwards.
  double InnerFlop(double each) const;
  template <class T>
  QkvOf<T> InputsOf(const Piece& piece, const View<T, 2>& qkv) const;
  template <class T>
  AttentionSavedOf<T> SavedOf(const Piece& piece, const Saved<T>& saved) const;
  template <class T>
  void RunForward(Context& context, const std::vector<Piece>& pieces, const View<T, 2>& qkv,
                  const Saved<T>& saved) const;
  template <class T>
  void RunBackward(Context& context, const std::vector<Piece>& pieces, const View<T, 2>& qkv,
                   const Saved<T>& saved, const View<const T, 2>& dout,
                   const View<float, 2>& dqkv) const;

  RowGroup* group_;
  WindowSpec spec_;
  HeadColumns columns_;  // one part: those of keys
  WindowTexts texts_;
  std::vector<idx_t> borders_;  // where each text begins, and N
  TokenSlab mine_;
  idx_t before_ = 0, rows_ = 0;
  std::vector<SeenRows> seen_;
  std::vector<Piece> inner_, outer_;  // outer ones see tokens of others
};

}  // namespace longspan
