// Options that choose between fp32 and bf16.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "longspan/tensor.h"

namespace longspan::cli {

// Of an option's "f32" or "bf16", which whoever registers it has checked.
inline DType DTypeOf(const std::string& name) {
  return name == "bf16" ? DType::kBF16 : DType::kF32;
}

// --gradient-streams, of Reformers.
inline void AddGradientStreamsOption(CLI::App* command, std::string* dtype) {
  command
      ->add_option("--gradient-streams", *dtype,
                   "Precision of the gradients between layers: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("NAME")
      ->default_str("f32");
}

}  // namespace longspan::cli
