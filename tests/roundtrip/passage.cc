// SPDX-License-Identifier: LGPL-2.1-or-later
// passage dump|restore DIRECTORY [PART PARTS [NAME]]: the programs of the round-trip tests, or every PARTS-th of
// them, or of those whose labels begin with NAME, dumped by one run and restored by another, between which the kernel
// may have changed. One line for each, with what is wrong; status 1 if anything is.
#include <sched.h>

#include <filesystem>
#include <iostream>
#include <sstream>

#include "base/file.h"
#include "base/text.h"
#include "engine_process.h"
#include "family.h"
#include "programs.h"
#include "subject.h"

namespace ks::test {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Outcome& outcome) {
  std::ostringstream text;
  text << outcome;
  return text.str();
}

// Empty, or what is wrong; "skipped: ..." if the program says so.
std::string dump_one(const Program& program, const fs::path& place) {
  fs::create_directories(place);
  Subject subject(Workplace(place), program.name, program.arguments);
  std::string trouble = subject.await_ready();
  if (!trouble.empty()) return trouble;
  auto noted = replace_file(place / "pid", std::to_string(subject.pid()), 0600);
  if (!noted) return noted.error().what;
  Outcome outcome = EngineProcess::dump(subject.pid(), place / "image", {}).wait();
  for (int i = 0; i < 20 && outcome.text.find("try again") != std::string::npos; ++i)
    outcome = EngineProcess::dump(subject.pid(), place / "image", {}).wait();
  return outcome.done() ? "" : text_of(outcome) + " " + subject.output();
}

std::string restore_one(const fs::path& place) {
  auto pid = parse_number<pid_t>(read_file(place / "pid").value_or(""));
  if (!pid) return "it was not dumped";
  Outcome outcome = EngineProcess::restore(place / "image").wait();
  if (!outcome.done()) return text_of(outcome);
  Subject subject(Workplace(place), *pid);
  subject.tell();
  return subject.await_success();
}

int run(bool dumps, const fs::path& directory, size_t part, size_t parts, std::string_view name) {
  bool good = true;
  for (size_t i = part; i < all_programs().size(); i += parts) {
    const Program& program = all_programs()[i];
    if (!program.label().starts_with(name)) continue;
    fs::path place = directory / program.label();
    if (!dumps && !fs::exists(place / "image")) continue;
    // What the one before has left would be somebody's, and each finds as much as under a kernel that has just begun.
    if (::unshare(CLONE_NEWIPC)) {
      std::cout << "no IPC namespace can be made" << std::endl;
      return 1;
    }
    std::string trouble = dumps ? dump_one(program, place) : restore_one(place);
    // Linux 7.1 has no UDP-Lite any more, and 6.12 other rings than 6.1.
    bool lacking =
        (program.label() == "datagrams_lite" && trouble.find("Protocol not supported") != std::string::npos) ||
        (program.label().starts_with("io_uring") && trouble.find("lays out rings otherwise") != std::string::npos);
    if (lacking) trouble = "this kernel lacks it";
    good = good && (trouble.empty() || lacking || trouble.starts_with("skipped: "));
    std::cout << program.label() << ": " << (trouble.empty() ? "ok" : trim(trouble)) << std::endl;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace ks::test

int main(int count, char** arguments) {
  std::string_view what = count > 2 ? arguments[1] : "";
  size_t part = 0, parts = 1;
  bool known = (what == "dump" || what == "restore") &&
               (count == 3 || ((count == 5 || count == 6) && ks::read_number(arguments[3], part) &&
                               ks::read_number(arguments[4], parts) && part < parts));
  if (!known) {
    std::cerr << "usage: passage dump|restore DIRECTORY [PART PARTS [NAME]]\n";
    return 2;
  }
  ks::test::become_reaper();
  return ks::test::run(what == "dump", arguments[2], part, parts, count > 5 ? arguments[5] : "");
}
