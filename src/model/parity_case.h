// A recorded case: its inputs, and the comparison with what a model here computes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.h"
#include "longspan/folders.h"
#include "model/family_options.h"
#include "model/label_fields.h"
#include "model/opened_folder.h"
#include "model/parameters.h"

namespace longspan {

class ParityCase {
 public:
  explicit ParityCase(const io::TensorSource& source) : source_(source) {}

  const io::TensorSource& source() const { return source_; }
  bool Has(std::string_view name) const { return source_.Has(name); }
  // Whether "expected.<name>" is there.
  bool Wants(const std::string& name) const { return source_.Has("expected." + name); }
  // Whether gradients or the loss of training are.
  bool WantsTraining() const;

  // Integers of this shape: ids, labels, masks. Empty when `name` is missing and `optional`.
  std::vector<std::int32_t> Integers(const std::string& name, const std::vector<idx_t>& shape,
                                     bool optional = false) const;

  // Labels of sequences are numbers, not classes: by the config, or by their type.
  bool LabelsAreNumbers(ProblemType problem, idx_t labels) const;
  // "input.labels" as `count` numbers.
  Tensor LabelValues(idx_t count) const;

  // Throws kFormat for a tensor of the case that the model does not have: the first one that is
  // neither known(name) nor the gradient of a parameter.
  void CheckKnown(const ParameterTable& table,
                  const std::function<bool(const std::string& name)>& known) const;

  // Compares with "expected.<name>".
  void CompareOutput(const std::string& name, std::span<const float> actual);
  void CompareOutput(const std::string& name, const Tensor& actual);
  void CompareOutput(const std::string& name, double actual);
  // Compares every "grad.*".
  void CompareGradients(ParameterTable& table);

  // kFormat when nothing was compared.
  ParityReport Finish();

 private:
  Tensor Expected(const std::string& name) const;
  void Compare(const std::string& name, std::string shown, std::span<const float> actual,
               double limit);

  const io::TensorSource& source_;
  ParityReport report_;
};

}  // namespace longspan
