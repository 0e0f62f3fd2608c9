// longspan_mpi.so: the one source that knows MPI.
#include <mpi.h>

#include <new>
#include <string>

#include "world/mpi_module.h"

namespace {

std::string& Text() {
  static std::string text;
  return text;
}

int& AnyThreadMayCall() {
  static int may = 0;
  return may;
}

const char* Start() {
  int provided = 0;
  // One thread at a time calls MPI: the one that trains, or while that computes, one that moves
  // its messages on. An MPI that allows only the first moves them when it is asked for them.
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    return "MPI_Init_thread fails";
  }
  if (provided < MPI_THREAD_FUNNELED) return "this MPI allows no threads beside its own";
  AnyThreadMayCall() = provided >= MPI_THREAD_SERIALIZED ? 1 : 0;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  return nullptr;
}

int Rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int Size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// "Open MPI v4.1.4": up to the first comma or line break.
const char* Version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  Text() = text;
  Text().resize(std::min(Text().size(), Text().find_first_of(",\r\n")));
  return Text().c_str();
}

void* Started(MPI_Request* request, int result) {
  if (request != nullptr && result == MPI_SUCCESS) return request;
  delete request;
  return nullptr;
}

void* Send(const void* data, size_t bytes, int to, int tag) {
  auto* request = new (std::nothrow) MPI_Request;
  if (request == nullptr) return nullptr;
  return Started(request, MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag,
                                    MPI_COMM_WORLD, request));
}

void* SendTaken(const void* data, size_t bytes, int to, int tag) {
  auto* request = new (std::nothrow) MPI_Request;
  if (request == nullptr) return nullptr;
  return Started(request, MPI_Issend(data, static_cast<int>(bytes), MPI_BYTE, to, tag,
                                     MPI_COMM_WORLD, request));
}

void* Receive(void* data, size_t bytes, int from, int tag) {
  auto* request = new (std::nothrow) MPI_Request;
  if (request == nullptr) return nullptr;
  return Started(request, MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag,
                                    MPI_COMM_WORLD, request));
}

int Test(void* message) {
  auto* request = static_cast<MPI_Request*>(message);
  int done = 0;
  if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return -1;
  if (done != 0) delete request;
  return done != 0 ? 1 : 0;
}

// A look for a message that nobody sends: tags end below this one.
void Progress() {
  constexpr int kTagOfNone = 32'767;
  int found = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, kTagOfNone, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
}

int AnyThread() { return AnyThreadMayCall(); }

void Finish() { MPI_Finalize(); }

constexpr LongspanMpi kTable = {kLongspanMpiTable, Start,   Rank, Size,     Version,   Send,
                                SendTaken,         Receive, Test, Progress, AnyThread, Finish};

}  // namespace

extern "C" __attribute__((visibility("default"))) const LongspanMpi* LongspanMpiModule() {
  return &kTable;
}
