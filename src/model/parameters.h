// All parameters of a model in one flat buffer, their gradients in a second one of the same shape:
// the optimiser, clipping and checkpoints walk over one array.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// The kind of a parameter decides its initial values and whether it has weight decay.
enum class ParameterKind { kMatrix, kEmbedding, kPosition, kBias, kNormWeight, kNormBias };

struct ParameterInfo {
  std::string name;  // Hugging Face's
  std::vector<idx_t> shape;
  ParameterKind kind = ParameterKind::kMatrix;
  idx_t offset = 0;  // in the flat buffers, elements
  idx_t size = 0;
};

// The initial values of a matrix: normal, cut at +-cutoff * stddev if there is a cutoff.
struct InitialDraw {
  double stddev = 0.02;
  std::optional<double> cutoff = {};
};

// The number of a parameter in its table. Add or Find tells it once, and a layer keeps it: a name
// is looked up in a map, a number is not.
enum class ParameterId : std::uint32_t {};
inline constexpr ParameterId kNoParameter{std::numeric_limits<std::uint32_t>::max()};

// Whose memory a table's values take: zeroed memory of its own, or what Borrow is given before the
// first use.
enum class ParameterMemory { kOwn, kBorrowed };

class ParameterWriter;
class PassesToCome;

// Values of a table that others are still sending (train/weight_exchange.h). The table asks before
// it shows values or lets them be written: whoever reads them has them whole.
class ValuesToCome {
 public:
  virtual ~ValuesToCome() = default;
  // Returns when numbers [begin, end) of ParameterTable::values() have arrived. Called by the
  // thread that asks the table. Throws what keeps them from arriving.
  virtual void Await(idx_t begin, idx_t end) = 0;
  // Returns when all have arrived, and no message needs those that are here: they may be written.
  virtual void AwaitAll() = 0;
};

// Built in two steps: Add every parameter, then Allocate or Borrow. Whoever has a const table reads
// values and adds to gradients; values are written through Write.
class ParameterTable {
 public:
  // Adds a parameter after the last one. Adjacent matrices of one width can be used as a single
  // taller one. `aligned` starts on a 64-byte boundary.
  ParameterId Add(std::string name, std::vector<idx_t> shape, ParameterKind kind,
                  bool aligned = true);
  // Parameters that are added from now on belong to the next stage of the backward pass, which runs
  // from the last stage to the first. Stage 0 are the embeddings, which have no call of their own.
  void BeginStage() { stages_.push_back(list_.size()); }
  // The parameters of the stage from here on have their gradients before its others: a backward
  // pass calls EndPart with the number that this returns. Ranks then send them earlier, and have
  // fewer of them in memory at a time.
  std::size_t BeginPart() {
    parts_.push_back(list_.size());
    return parts_.size() - 1;
  }
  void Allocate();
  // Says which parameters are not trained, by number; before there are gradients. A backward pass
  // ends at first_stage(), and the parameters of the stages before it have no gradients.
  void Freeze(std::vector<bool> frozen);
  void AllocateGradients();  // zeroed; only training needs them
  // Sets numbers [begin, end) of gradients() to zero, and gives their memory back until they are
  // written again. Borrowed memory is only set to zero.
  void ReleaseGradients(idx_t begin, idx_t end);
  // For gradients that are released again and again: no more comes back than is written.
  void ReleaseGradientsOften();
  // Memory of the caller's, extent() floats each, instead of the table's own.
  void Borrow(float* values, float* gradients);
  // Hugging Face's initialisation from counter-based random numbers: N(0, stddev) for matrices and
  // embeddings, N(0, position_stddev) for axial positions, ones and zeros for norms and biases.
  // With `which` only the parameters that it names, each the same as without. The thread's
  // CancelScope ends it.
  void Draw(std::uint64_t seed, double stddev, double position_stddev,
            const std::function<bool(std::string_view name)>& which = {});
  // The same with a distribution for each matrix and embedding.
  void Draw(std::uint64_t seed, const std::function<InitialDraw(const ParameterInfo& info)>& draw,
            const std::function<bool(std::string_view name)>& which = {});
  idx_t extent() const { return extent_; }  // of a flat buffer, padding included

  const std::vector<ParameterInfo>& list() const { return list_; }  // by number
  // Throws kUsage when there is no such parameter.
  ParameterId Find(std::string_view name) const;
  const ParameterInfo& at(ParameterId id) const { return list_[static_cast<std::size_t>(id)]; }
  const ParameterInfo& at(std::string_view name) const { return at(Find(name)); }
  bool contains(std::string_view name) const;
  idx_t count() const;  // numbers to learn, padding not counted
  const std::vector<bool>& frozen() const { return frozen_; }  // by number; empty: none
  bool trains(ParameterId id) const {
    return frozen_.empty() || !frozen_[static_cast<std::size_t>(id)];
  }
  // Whether any parameter is trained that has one of the `size` numbers from the first of `first`
  // on: matrices that are used as one.
  bool trains(ParameterId first, idx_t size) const;
  // The first stage with a parameter that is trained. 0 if nothing is frozen.
  std::size_t first_stage() const { return first_stage_; }
  idx_t gradient_extent() const { return extent_ - gradient_begin_; }  // of gradients()

  // Until it is null again, values are shown when `to_come` says that they are there. It may be
  // told in the midst of a call of Await.
  void Expect(ValuesToCome* to_come) { to_come_ = to_come; }
  bool expects() const { return to_come_ != nullptr; }

  View<const float, 1> values() const;  // the flat buffers, padding included (always zero)
  // Numbers [begin, end) of them.
  View<const float, 1> values(idx_t begin, idx_t end) const;
  // Without those of frozen stages: the last gradient_extent() numbers of a flat buffer.
  View<float, 1> gradients() const;
  bool has_gradients() const { return gradient_data_ != nullptr; }

  // Where the gradients of a stage and of those after it begin in gradients(); 0 for the stages up
  // to the first one that is trained.
  idx_t StageBegin(std::size_t stage) const;
  // Where in gradients() stages and parts begin that are trained: from 0, ascending, each once.
  std::vector<idx_t> WholeBegins() const;
  // tell(begin) is called in the midst of a backward pass, on its thread: gradients() from `begin`
  // on are whole. Calls of one pass have smaller and smaller numbers. Null: nobody is told.
  using TellWhole = std::function<void(idx_t begin)>;
  void OnWhole(TellWhole tell) { tell_whole_ = std::move(tell); }
  // Models call it when the backward pass of a stage has ended, from the last stage to the first.
  // Costs nothing where nobody is told, passes are to come, or the context rehearses.
  void EndStage(const Context& context, std::size_t stage) const {
    if (tell_whole_ && passes_to_come_ == 0 && !context.rehearsal()) tell_whole_(StageBegin(stage));
  }

  // The same when that of a part has ended.
  void EndPart(const Context& context, std::size_t part) const {
    if (tell_whole_ && passes_to_come_ == 0 && !context.rehearsal()) {
      tell_whole_(GradientBegin(parts_[part]));
    }
  }

  // `size` > 0 includes the next parameters. Gradients of stages that have none are null, in their
  // shape.
  View<const float, 1> vector(ParameterId id, idx_t size = 0) const;
  View<float, 1> vector_gradient(ParameterId id) const;
  // Shape (product of all axes but the last, last axis). `rows` > 0 includes the next parameters.
  View<const float, 2> matrix(ParameterId id, idx_t rows = 0) const;
  View<float, 2> matrix_gradient(ParameterId id, idx_t rows = 0) const;
  // The same, null in its shape if none of these parameters is trained: its product is left out.
  View<float, 2> trained_gradient(ParameterId id, idx_t rows = 0) const;
  // How many numbers these matrices have if none of them is trained, else 0.
  idx_t frozen_numbers(ParameterId id, idx_t rows = 0) const {
    const idx_t size = matrix_gradient(id, rows).size();
    return trains(id, size) ? 0 : size;
  }
  View<float, 1> trained_vector_gradient(ParameterId id) const {
    return {trains(id) ? vector_gradient(id).data : nullptr, {at(id).size}};
  }
  // By name: for files, checks and tests, not for what runs at every call.
  View<const float, 1> vector(std::string_view name) const { return vector(Find(name)); }
  View<float, 1> vector_gradient(std::string_view name) const {
    return vector_gradient(Find(name));
  }
  View<const float, 2> matrix(std::string_view name) const { return matrix(Find(name)); }
  View<float, 2> matrix_gradient(std::string_view name) const {
    return matrix_gradient(Find(name));
  }

  ParameterWriter Write();
  // Increases when a writer ends. Bf16Weights are then rounded again.
  std::uint64_t generation() const { return generation_; }

 private:
  friend class ParameterWriter;
  friend class PassesToCome;
  View<float, 1> VectorOf(float* buffer, ParameterId id) const;
  View<float, 2> MatrixOf(float* buffer, ParameterId id, idx_t rows) const;
  // Where the gradients of parameters from number `first` on begin in gradients().
  idx_t GradientBegin(std::size_t first) const;
  // Where the gradient of a parameter lies, or null.
  float* GradientOf(const ParameterInfo& info) const;

  std::vector<ParameterInfo> list_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<std::size_t> stages_;  // from 1: the number of the first parameter
  std::vector<std::size_t> parts_;   // the number of the first parameter
  std::vector<bool> frozen_;         // empty: none
  std::size_t first_stage_ = 0;
  idx_t gradient_begin_ = 0;  // in the flat buffers, elements
  idx_t extent_ = 0;
  Tensor values_, gradients_;                               // empty when borrowed
  float *value_data_ = nullptr, *gradient_data_ = nullptr;  // the latter from gradient_begin_ on
  std::uint64_t generation_ = 1;
  ValuesToCome* to_come_ = nullptr;  // null: all values are there
  TellWhole tell_whole_;
  mutable int passes_to_come_ = 0;  // the number of PassesToCome
};

// While it lives, the backward passes of the table are not the last ones of their micro-batch:
// others add to the same gradients afterwards. Whoever runs several passes in a micro-batch says
// so.
class PassesToCome {
 public:
  // `are`: false for the last pass.
  PassesToCome(const ParameterTable& table, bool are) : table_(table), count_(are ? 1 : 0) {
    table_.passes_to_come_ += count_;
  }
  ~PassesToCome() { table_.passes_to_come_ -= count_; }
  PassesToCome(const PassesToCome&) = delete;
  PassesToCome& operator=(const PassesToCome&) = delete;

 private:
  const ParameterTable& table_;
  const int count_;
};

// Writes values. When it ends, the bf16 weights of the table are stale: views of it do not outlive
// it. It begins when no value is on its way.
class ParameterWriter {
 public:
  explicit ParameterWriter(ParameterTable& table) : table_(table) {
    if (table.to_come_ != nullptr) table.to_come_->AwaitAll();
  }
  ~ParameterWriter() { ++table_.generation_; }
  ParameterWriter(const ParameterWriter&) = delete;
  ParameterWriter& operator=(const ParameterWriter&) = delete;

  View<float, 1> values() const { return {table_.value_data_, {table_.extent_}}; }
  View<float, 1> vector(ParameterId id) const { return table_.VectorOf(table_.value_data_, id); }
  View<float, 1> vector(std::string_view name) const { return vector(table_.Find(name)); }
  View<float, 2> matrix(std::string_view name) const {
    return table_.MatrixOf(table_.value_data_, table_.Find(name), 0);
  }

 private:
  ParameterTable& table_;
};

inline ParameterWriter ParameterTable::Write() { return ParameterWriter(*this); }

}  // namespace longspan
