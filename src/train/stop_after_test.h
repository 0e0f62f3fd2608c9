// What tests of trainings that end early share.
#pragma once

#include <memory>

#include "longspan/train.h"

namespace longspan {

// Hooks that end a run when it has made this update; 0: none do.
inline TrainHooks StopAfter(idx_t update) {
  const auto step = std::make_shared<idx_t>(0);
  TrainHooks hooks;
  hooks.on_event = [step](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep) *step = event.step;
  };
  hooks.should_stop = [step, update] { return update > 0 && *step >= update; };
  return hooks;
}

}  // namespace longspan
