// SPDX-License-Identifier: LGPL-2.1-or-later
// The two tables. Everything that is compared is measured in turn, round by round, so that whatever else the machine
// does meets all of it alike; what is printed are medians.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "contestant.h"

namespace ks::bench {

struct Plan {
  uint64_t mebibytes = 1024;
  int rounds = 5;
  size_t scale = 1000;  // processes and threads; ten times as many descriptors and areas
  std::string memory_directory = "/dev/shm", disk_directory = "/var/tmp";
};

// Samples by name.
class Samples {
 public:
  void add(const std::string& name, double value) { values_[name].push_back(value); }
  bool has(const std::string& name) const { return values_.contains(name); }
  double median(const std::string& name) const;  // 0: none

 private:
  std::map<std::string, std::vector<double>> values_;
};

// One passage of a workload: started, dumped while it runs on, dumped and killed, restored, killed.
struct Passage {
  Feat look;  // the dump that leaves it running
  Feat dump, restore;
  double huge_before = 0, huge_after = 0;  // parts of its memory that are in huge pages
};
enum class Contestant { engine, criu };
Result<Passage> pass(Contestant contestant, const std::string& what, uint64_t count, const std::string& directory,
                     uint64_t warm_bytes);

Result<> measure_memory(const Plan& plan);
Result<> measure_scale(const Plan& plan);

}  // namespace ks::bench
