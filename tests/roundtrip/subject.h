// SPDX-License-Identifier: LGPL-2.1-or-later
// A program under test, started as a service would be: a session of its own, no descriptors but the standard ones,
// its output a file on disk.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace ks::test {

// A directory that is not in memory, and goes with this object.
class Workplace {
 public:
  Workplace();
  // One that is there already, and stays.
  explicit Workplace(std::filesystem::path directory) : path_(std::move(directory)), stays_(true) {}
  Workplace(const Workplace&) = delete;
  ~Workplace();
  std::string file(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool stays_ = false;
};

class Subject {
 public:
  // Runs `program`, a path, a file name in the directory of the programs, or a .py script there, in the
  // namespaces of the process `inside`.
  Subject(const Workplace& place, const std::string& program, const std::vector<std::string>& arguments = {},
          pid_t inside = 0);
  // One that runs in `place` already, restored.
  Subject(const Workplace& place, pid_t pid) : output_file_(place.file("output")), pid_(pid) {}
  Subject(const Subject&) = delete;
  ~Subject();

  pid_t pid() const { return pid_; }
  // Empty, or why it will not become ready: "skipped: ..." if it says so itself.
  std::string await_ready();
  // Makes it compare and end.
  void tell();
  // Whether calls that signal(7) names may end with EINTR for now; for programs that ask.
  void expect_interruptions(bool expected);
  // Empty if it ends well.
  std::string await_success();
  std::string output() const;
  // How it has ended, or "runs".
  std::string ending();

 private:
  std::string output_file_;
  pid_t pid_ = 0;
};

}  // namespace ks::test
