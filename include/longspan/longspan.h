// Every C++ header of longspan. What you want to do, and the header that has it:
//
//   embed, classify, answer, fill masks, find the nearest    tasks.h
//   continue a text                                          generate.h
//   hidden states, logits, a loss                            model.h, batch.h
//   train, evaluate                                          train.h, optimizer.h, evaluate.h
//   train and evaluate words' classes, answers, choices      head_training.h
//   the same, and new models, by options that have names     named_options.h
//   measures of predictions                                  metrics.h
//   read texts, tables, JSON lines                           data.h
//   threads, limits, cancelling, progress                    context.h
//   make, describe, convert, verify a model's folder         folders.h
//   predict time and memory of a training                    plan.h
//   train with several processes (MPI)                       world.h, ranks.h
//   attention on tensors of your own                         attention.h, tensor.h
//   axial positional encodings                               axial_position.h
//   tokens of a text; learn a tokenizer                      tokenizer.h, tokenizer_training.h
//   who sees whom; what hashing finds                        pattern.h, inspect.h
//   errors and their codes                                   error.h
//   numbers before nouns, for messages of your own           counted.h
#pragma once

#include "longspan/attention.h"
#include "longspan/axial_position.h"
#include "longspan/batch.h"
#include "longspan/context.h"
#include "longspan/counted.h"
#include "longspan/data.h"
#include "longspan/data_stats.h"
#include "longspan/error.h"
#include "longspan/evaluate.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "longspan/generate.h"
#include "longspan/head_training.h"
#include "longspan/inspect.h"
#include "longspan/machine.h"
#include "longspan/metrics.h"
#include "longspan/model.h"
#include "longspan/model_info.h"
#include "longspan/named_options.h"
#include "longspan/optimizer.h"
#include "longspan/pattern.h"
#include "longspan/plan.h"
#include "longspan/process.h"
#include "longspan/ranks.h"
#include "longspan/run_log.h"
#include "longspan/sampling.h"
#include "longspan/step_memory.h"
#include "longspan/tasks.h"
#include "longspan/tensor.h"
#include "longspan/tokenizer.h"
#include "longspan/tokenizer_training.h"
#include "longspan/train.h"
#include "longspan/types.h"
#include "longspan/vectors.h"
#include "longspan/version.h"
#include "longspan/world.h"
