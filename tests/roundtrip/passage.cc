// SPDX-License-Identifier: LGPL-2.1-or-later
// passage dump|restore DIRECTORY [PART PARTS [NAME]]: the programs of the round-trip tests, but for those that need
// somebody who ends with the kernel; or every PARTS-th of them, or of those whose labels begin with NAME, dumped by
// one run and restored by another, between which the kernel may have changed; NEXT_KERNEL in the environment is the
// file of the one that comes. One line for each, with what is wrong; status 1 if anything is.
#include <sched.h>

#include <cstdlib>
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

constexpr std::string_view kRings = "io_uring";  // so are programs called that have any

std::string text_of(const Outcome& outcome) {
  std::ostringstream text;
  text << outcome;
  return text.str();
}

std::optional<engine::NextKernel> next_kernel() {
  const char* path = ::getenv("NEXT_KERNEL");
  if (!path) return std::nullopt;
  auto file = open_file(path, O_RDONLY);
  return file ? engine::NextKernel::of_file(std::move(*file), path) : engine::NextKernel::unknown(file.error().what);
}

// Empty, or what is wrong; "skipped: ..." if the program says so.
std::string dump_one(const Program& program, const fs::path& place, const DumpPlan& plan) {
  fs::create_directories(place);
  Subject subject(Workplace(place), program.name, program.arguments);
  std::string trouble = subject.await_ready();
  if (!trouble.empty()) return trouble;
  auto noted = replace_file(place / "pid", std::to_string(subject.pid()), 0600);
  if (!noted) return noted.error().what;
  Outcome outcome = EngineProcess::dump(subject.pid(), place / "image", plan).wait();
  for (int i = 0; i < 20 && outcome.text.find("try again") != std::string::npos; ++i)
    outcome = EngineProcess::dump(subject.pid(), place / "image", plan).wait();
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

bool is_about_layout(const std::string& trouble) {
  return trouble.find("the next kernel") != std::string::npos &&
         trouble.find("lays out rings otherwise") != std::string::npos;
}

int run(bool dumps, const fs::path& directory, size_t part, size_t parts, std::string_view name) {
  bool good = true;
  DumpPlan plan{.leave_network_settings = true, .next_kernel = next_kernel()};
  for (size_t i = part; i < all_programs().size(); i += parts) {
    const Program& program = all_programs()[i];
    if (!program.label().starts_with(name) || !program.alone) continue;
    fs::path place = directory / program.label();
    if (!dumps && !fs::exists(place / "image")) continue;
    // What the one before has left would be somebody's, and each finds as much as under a kernel that has just begun.
    if (::unshare(CLONE_NEWIPC)) {
      std::cout << "no IPC namespace can be made" << std::endl;
      return 1;
    }
    // Once for all that are forked from here.
    if (dumps && plan.next_kernel && program.label().starts_with(kRings)) (void)plan.next_kernel->facts();
    std::string trouble = dumps ? dump_one(program, place, plan) : restore_one(place);
    // Linux 7.1 has no UDP-Lite any more.
    bool lacking = program.label() == "datagrams_lite" && trouble.find("Protocol not supported") != std::string::npos;
    if (lacking) trouble = "this kernel lacks it";
    // 6.12 has other rings than 6.1.
    bool foretold = dumps && program.label().starts_with(kRings) && is_about_layout(trouble);
    if (foretold) trouble = "the next kernel lacks it";
    good = good && (trouble.empty() || lacking || foretold || trouble.starts_with("skipped: "));
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
