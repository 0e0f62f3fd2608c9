// Window attention where ranks share rows (world/row_group.h): each attends with the queries of its
// own tokens, and gets of others the keys and values that their windows reach, the halo, and those
// of all global tokens. Those that others see are projected first; the rest is projected, and
// queries that see nothing of the halo are computed, while it travels. With the queries of global
// tokens each rank attends to its own tokens, and the parts are joined.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
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
// are those of the tokens before its slab that its windows reach, its own, and those after it; and
// at the end once more those of all G global tokens, in the order of the tokens.
class WindowHalo {
 public:
  // Nothing where heads travel instead: without a group, where some rank gets more tokens of others
  // than the smallest slab has, for which heads travel more cheaply, and for global tokens of
  // causal rows. A rank gets what windows reach, and for each global token a row of each rank. The
  // same answer on all ranks. `spec` is the layer's: its dropout is that of all heads, and global
  // tokens and starts are those of `texts`, which must outlive this.
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

  idx_t globals() const { return std::ssize(globals_.positions); }  // G
  // Which of the G this rank has; their rows among the own tokens; how many any rank has at most.
  TokenSlab own_globals() const { return GlobalsOf(mine_); }
  std::vector<std::int32_t> own_global_rows() const;
  idx_t most_own_globals() const;

  // ---- rows of local tokens
  // Those of global tokens are left as they are.

  // The forward writes these of the own tokens for the backward.
  template <class T>
  struct Saved {
    View<T, 2> out;      // (own(), H D)
    View<float, 3> lse;  // (1, H, own())
  };
  // project(first, count) writes queries, keys and values of the own tokens [first, first + count)
  // to their rows of qkv (rows(), 3 H D). Each token is projected once, those that others see
  // first. Which ones are together depends on the batch, the slab and the window alone. Takes
  // `flop` a token, for plans.
  struct Projection {
    std::function<void(idx_t first, idx_t count)> project;
    double flop = 0.0;
  };
  // qkv gets the own tokens of `projection`, and keys and values of the others. Together.
  template <class T>
  void Forward(Context& context, const View<T, 2>& qkv, const Projection& projection,
               const Saved<T>& saved) const;
  // dqkv (rows(), 3 H D), zeroed, gets the gradients of the own tokens in their rows, for
  // d loss / d out = dout (own(), H D). `qkv` is what the forward left. Together.
  template <class T>
  void Backward(Context& context, const View<T, 2>& qkv, const Saved<T>& saved,
                const View<const T, 2>& dout, const View<float, 2>& dqkv) const;

  // ---- rows of global tokens
  // They have projections of their own: qg (G, H D) and, of the own tokens, kvg (own(), 2 H D).

  // Saved::out is (G, H D) and lse (1, H, G), of all global tokens, on all ranks.
  //
  // qg has the queries of the own global tokens, in their rows; it gets the others. Writes `saved`,
  // and the rows of the own global tokens of out (own(), H D). Together.
  template <class T>
  void ForwardGlobals(Context& context, const View<T, 2>& qg, const View<const T, 2>& kvg,
                      const Saved<T>& saved, const View<T, 2>& out) const;
  // dqg (G, H D), zeroed, gets the gradients of the own global tokens in their rows, and dkvg
  // (own(), 2 H D), zeroed, those of the own tokens, for dout (own(), H D), of which only rows of
  // global tokens are read. `qg` and `saved` are what the forward left. Together.
  template <class T>
  void BackwardGlobals(Context& context, const View<const T, 2>& qg, const View<const T, 2>& kvg,
                       const Saved<T>& saved, const View<const T, 2>& dout,
                       const View<float, 2>& dqg, const View<float, 2>& dkvg) const;

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
  // The tokens of all global tokens; which of the list are in a slab.
  idx_t GlobalToken(idx_t g) const {
    return global_texts_[static_cast<std::size_t>(g)] +
           globals_.positions[static_cast<std::size_t>(g)];
  }
  TokenSlab GlobalsOf(const TokenSlab& slab) const;
  void AddSeenGlobals(int viewer);
  // What owners of global tokens send, where the list of all is on all ranks.
  std::vector<SeenRows> GlobalRows() const;
  // `rows` rows of each rank, side by side on all.
  std::vector<SeenRows> RowsOfAll(idx_t rows) const;

  // Own rows that others see, and the other ones: parts in order.
  void FindShown();

  // Queries of one text: the slab's begin and end count from the text's first token.
  struct Piece {
    std::size_t text = 0;
    WindowSlab slab;
  };
  void AddPieces(std::size_t text);
  void AddPiece(std::size_t text, idx_t begin, idx_t end, std::vector<Piece>* pieces) const;
  void PutGlobals(Piece* piece) const;
  // The own part of each text that has global tokens, and the first of these in the list.
  std::vector<Piece> PartsWithGlobals() const;
  idx_t FirstGlobal(const Piece& piece) const { return globals_.first[piece.text]; }
  WindowSpec SpecOf(const Piece& piece) const;
  TokenRoles RolesOf(const Piece& piece) const;
  idx_t QueryRow(const Piece& piece) const;  // the first one's, among the own tokens
  idx_t KeyRow(const Piece& piece) const {   // of tensors with a halo
    return QueryRow(piece) + before_ - piece.slab.before;
  }
  // Rows that the piece's keys are among: with global tokens all that follow.
  idx_t KeyRows(const Piece& piece) const {
    return piece.slab.Globals() > 0 ? rows_ - KeyRow(piece) : piece.slab.Keys();
  }
  // Work of the inner pieces, for so many flop a pair of query and key and channel.
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
  GlobalTokens globals_;             // of all texts
  std::vector<idx_t> global_texts_;  // (G): where the text of each begins
  idx_t before_ = 0, rows_ = 0;
  std::vector<SeenRows> seen_, seen_globals_;
  std::vector<TokenSlab> shown_, hidden_;
  std::vector<Piece> inner_, outer_;  // outer ones see tokens of others
};

}  // namespace longspan
