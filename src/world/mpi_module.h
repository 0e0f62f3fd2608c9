// What longspan_mpi.so gives: plain functions of C, so that it needs nothing of the library, and
// the library needs no MPI. They are called by one thread at a time.
#pragma once

#include <stddef.h>

// Changes when the table does: a module of another build is refused.
enum { kLongspanMpiTable = 3 };

struct LongspanMpi {
  int table;  // kLongspanMpiTable
  // Starts MPI. Null, or what went wrong.
  const char* (*start)(void);
  int (*rank)(void);
  int (*size)(void);
  const char* (*version)(void);  // one line
  // A message of at most 2^30 bytes; null: MPI refuses.
  void* (*send)(const void* data, size_t bytes, int to, int tag);
  // The same, done only when its receiver has begun to get it.
  void* (*send_taken)(const void* data, size_t bytes, int to, int tag);
  void* (*receive)(void* data, size_t bytes, int from, int tag);
  // 1: done, and `message` is no more; 0: on its way; -1: MPI reports an error.
  int (*test)(void* message);
  // Moves all messages on a little, as test does.
  void (*progress)(void);
  int (*any_thread)(void);  // 1: it need not be the same thread each time
  void (*finish)(void);
};

// The one name that the module exports.
#define LONGSPAN_MPI_ENTRY "LongspanMpiModule"
typedef const struct LongspanMpi* (*LongspanMpiEntry)(void);
