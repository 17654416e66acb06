// SPDX-License-Identifier: LGPL-2.1-or-later
// The two tables. Everything that is compared is measured in turn, round by round, so that whatever else the machine
// does meets all of it alike; what is printed are medians.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "contestant.h"

namespace ks::bench {

struct Plan {
  uint64_t mebibytes = 1024;
  int rounds = 5;
  size_t scale = 1000;  // processes and threads; ten times as many of the rest
  std::string row;      // the only one of the tables; empty: all
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

// An image that is gone with this, also when we leave early: one of a gibibyte in memory would spoil what follows.
class Image {
 public:
  explicit Image(const std::string& directory);
  Image(const Image&) = delete;
  ~Image();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One passage of a workload: started, dumped and killed, restored, killed.
struct Passage {
  Feat dump, restore;
};
enum class Contestant { engine, criu };
Result<Feat> dump(Contestant contestant, pid_t root, const std::string& image, bool leave_running);
Result<Feat> restore(Contestant contestant, const std::string& image);
Result<Passage> pass(Contestant contestant, const std::string& what, uint64_t count, const std::string& directory);

bool is_scale_row(std::string_view what);
Result<> measure_memory(const Plan& plan);
Result<> measure_scale(const Plan& plan);

}  // namespace ks::bench
