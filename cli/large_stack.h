// The program's work, wherever its first thread has little stack (ulimit -s).
#pragma once

namespace longspan::cli {

// To be called before any other thread starts: threads get stacks that they can work on.
void RaiseThreadStacks();

// work(argc, argv), on a thread of its own where the calling one's stack is small; its result.
// Where no such thread is to be had: kLimit.
int RunOnLargeStack(int (*work)(int, char**), int argc, char** argv);

}  // namespace longspan::cli
