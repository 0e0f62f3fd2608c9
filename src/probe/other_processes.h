// How busy other processes keep the machine: what a measurement of time has to be judged by.
#pragma once

#include <vector>

namespace longspan {

// Measures from its construction on. It looks at the cores that this process may run on
// (sched_getaffinity), whose busy time /proc/stat has in ticks of some 10 ms: a tenth of a second
// is too short. Time that a hypervisor gave to other machines counts as busy.
class OtherProcesses {
 public:
  OtherProcesses();

  // The cores that others kept busy, as a mean since the construction: from 0 to cores(). 0 where
  // the system does not tell.
  double BusyCores() const;
  int cores() const { return static_cast<int>(cpus_.size()); }

 private:
  std::vector<int> cpus_;      // that this process may run on
  double begin_, busy_, own_;  // seconds: clock, busy time of the cores, time of this process
};

}  // namespace longspan
