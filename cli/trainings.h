// Every kind of training, in one table: a new one is a file with its function AddTrain..., that
// function's name below and one line of the table in cmd_train.cc.
#pragma once

#include <string>

#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/command.h"

namespace longspan::cli {

// Each adds the options and the footer of `longspan train NAME` to a command that the table has
// made.
Register AddTrainClassify, AddTrainEmbed, AddTrainLm, AddTrainMlm, AddTrainMultipleChoice,
    AddTrainQa, AddTrainRerank, AddTrainTokenClassify;

// The last lines of each page, before its examples.
extern const std::string kTrainNotes;
// The same without the names of columns, for rows whose columns have options of their own.
extern const std::string kRowNotes;

// Trains with progress and prints the result; `next` is the command that uses the trained model.
int RunTrainCommand(const TrainCommand& c, const TrainRun& run, const std::string& next);

}  // namespace longspan::cli
