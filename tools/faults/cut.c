// Loaded before one rank (LD_PRELOAD): when the file FAULT_CUT appears, every TCP connection of the
// process is reset, as by a router that forgets them. Nothing else of the process is disturbed.
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kMostDescriptors = 4096, kLookEvery_us = 2000 };

static const char* cue;

static int IsConnected(int fd) {
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  return getpeername(fd, (struct sockaddr*)&peer, &length) == 0 &&
         (peer.ss_family == AF_INET || peer.ss_family == AF_INET6);
}

// The descriptor stays open, for the process still uses its number. Connecting a stream to no
// address resets it.
static void Reset(int fd) {
  const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
  connect(fd, &nobody, sizeof nobody);
}

static void* Wait(void* unused) {
  while (access(cue, F_OK) != 0) usleep(kLookEvery_us);
  for (int fd = 3; fd < kMostDescriptors; ++fd) {
    if (IsConnected(fd)) Reset(fd);
  }
  return unused;
}

__attribute__((constructor)) static void Start(void) {
  cue = getenv("FAULT_CUT");
  if (cue == NULL) return;
  unsetenv("LD_PRELOAD");  // what the process starts is not disturbed
  sigset_t all, before;    // no signal is handled by this thread
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  if (pthread_create(&thread, NULL, Wait, NULL) == 0) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}
