// What evaluations of Python share.
#pragma once

#include <span>
#include <string>

#include "longspan/named_options.h"
#include "models_values.h"

namespace longspan::python {

// evaluate() of models that say something of each word, answer or choose; (options, call).
nanobind::dict EvaluateTags(Options& options, const CallOptions& call);
nanobind::dict EvaluateAnswers(Options& options, const CallOptions& call);
nanobind::dict EvaluateChoices(Options& options, const CallOptions& call);

// What every evaluation returns.
nanobind::dict EvaluationObject(const NamedEvaluation& named);
// [(name, precision, recall, f1, support, predicted)].
nanobind::list ClassObjects(std::span<const ClassScore> classes);

void BindEvaluation(nanobind::module_& module);  // evaluate

}  // namespace longspan::python
