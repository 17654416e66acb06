// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "../roundtrip/family.h"
#include "../roundtrip/subject.h"
#include "machine.h"
#include "rows.h"

namespace ks::bench {

namespace {

Rate rate(const Feat& feat, uint64_t bytes) {
  auto size = static_cast<double>(bytes);
  return {size / feat.seconds, size / feat.cpu_seconds};
}

// Of each round, from some attempts that take turns: whatever else the machine does slows one down, not all.
struct Best {
  Rate wall, cpu;  // each by its own measure
  void add(const Rate& rate) {
    if (rate.bytes_per_second > wall.bytes_per_second) wall = rate;
    if (rate.bytes_per_cpu_second > cpu.bytes_per_cpu_second) cpu = rate;
  }
  void into(Samples& samples, const std::string& name) const {
    samples.add(name, wall.bytes_per_second);
    samples.add(name + " cpu", cpu.bytes_per_cpu_second);
  }
};
constexpr int kAttempts = 3;

double huge_part(pid_t pid) {
  auto memory = memory_of(pid);
  if (!memory || memory->anonymous == 0) return 0;
  return static_cast<double>(memory->huge) / static_cast<double>(memory->anonymous);
}

// The one that holds the pages.
std::string largest_file(const std::string& directory) {
  std::string largest;
  uintmax_t most = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.is_regular_file() && entry.file_size() >= most) {
      most = entry.file_size();
      largest = entry.path();
    }
  return largest;
}

Result<> measure_machine(const Plan& plan, const std::string& pages, Samples& samples) {
  uint64_t bytes = plan.mebibytes * kMebibyte;
  bool huge = pages == "huge";
  Best copy, populate;
  for (int i = 0; i < kAttempts; ++i) {
    warm_up(2 * bytes, true);
    copy.add(copy_rate(bytes));
    warm_up(bytes, huge);
    populate.add(populate_rate(bytes, huge));
  }
  copy.into(samples, pages + " memcpy");
  populate.into(samples, pages + " populate");
  return {};
}

// Dumps and restores take turns with what the machine does alone: the same bytes, from or to the same place.
Result<> measure_contestant(const Plan& plan, const std::string& pages, Contestant contestant, const char* where,
                            const std::string& directory, Samples& samples) {
  uint64_t bytes = plan.mebibytes * kMebibyte;
  std::string who = pages + (contestant == Contestant::engine ? " engine" : " criu");
  test::Workplace place;
  test::Subject subject(place, BENCH_WORKLOAD, {pages, std::to_string(plan.mebibytes)});
  if (auto trouble = subject.await_ready(); !trouble.empty()) return fail(trouble);
  pid_t pid = subject.pid();
  bool huge = pages == "huge";
  double huge_before = huge_part(pid);
  Best plain_write, dumped, plain_read, restored;
  std::string plain_file = fmt::format("{}/kernel-swap-bench-{}.pages", directory, ::getpid());
  Feat feat;
  for (int i = 0; i < kAttempts; ++i) {
    warm_up(bytes);
    plain_write.add(TRY(read_and_write_rate(pid, plain_file)));
    Image image(directory);
    warm_up(bytes);
    feat = TRY(in("dump", dump(contestant, pid, image.path(), true)));
    dumped.add(rate(feat, bytes));
  }
  samples.add(who + " look", feat.seconds);
  samples.add(who + " frozen", feat.frozen_seconds);
  samples.add(who + " dump peak", static_cast<double>(feat.peak_bytes));
  Image image(directory);
  TRY(in("dump", dump(contestant, pid, image.path(), false)));
  test::kill_descendants();
  for (int i = 0; i < kAttempts; ++i) {
    warm_up(bytes, huge);
    plain_read.add(TRY(fill_rate(largest_file(image.path()), bytes, huge)));
    warm_up(bytes, huge);
    feat = TRY(in("restore", restore(contestant, image.path())));
    restored.add(rate(feat, bytes));
    if (huge_before > 0) samples.add(who + " huge", huge_part(pid) / huge_before);
    if (::kill(pid, 0)) return fail(fmt::format("pid {} did not come back", pid));
    test::kill_descendants();
  }
  samples.add(who + " restore peak", static_cast<double>(feat.peak_bytes));
  plain_write.into(samples, fmt::format("{} read+write {}", who, where));
  dumped.into(samples, fmt::format("{} dump {}", who, where));
  plain_read.into(samples, fmt::format("{} fill {}", who, where));
  restored.into(samples, fmt::format("{} restore {}", who, where));
  return {};
}

class Table {
 public:
  explicit Table(const Samples& samples) : samples_(samples) {}

  void absolute(const char* label, const char* name, double unit, const char* unit_name) const {
    line(label, name, [&](const std::string& pages) { return at(pages, name) / unit; }, unit_name);
  }
  void ratio(const char* label, const char* over, const char* under) const {
    line(
        label, over,
        [&](const std::string& pages) {
          double base = at(pages, under);
          return base > 0 ? at(pages, over) / base : 0;
        },
        "");
  }

 private:
  double at(const std::string& pages, const char* name) const { return samples_.median(pages + " " + name); }
  template <class Value>
  void line(const char* label, const char* name, Value value, const char* unit) const {
    std::string text = fmt::format("  {:<52}", label);
    for (const char* pages : {"memory", "huge"})
      text += samples_.has(fmt::format("{} {}", pages, name)) ? fmt::format("{:>10.2f}", value(pages))
                                                              : fmt::format("{:>10}", "-");
    std::puts((text + "  " + unit).c_str());
  }
  const Samples& samples_;
};

void print(const Plan& plan, const Samples& samples) {
  std::puts(fmt::format("{} MiB of random memory, medians of {} rounds          plain pages  huge pages",
                        plan.mebibytes, plan.rounds)
                .c_str());
  Table table(samples);
  constexpr double kGigabyte = 1e9, kMillisecond = 1e-3;
  table.absolute("the machine: memcpy", "memcpy", kGigabyte, "GB/s");
  table.absolute("the machine: populate fresh pages", "populate", kGigabyte, "GB/s");
  table.absolute("the machine: process_vm_readv + write to tmpfs", "engine read+write memory", kGigabyte, "GB/s");
  table.absolute("the machine: process_vm_readv + write to page cache", "engine read+write disk", kGigabyte, "GB/s");
  table.absolute("the machine: copy from tmpfs into fresh pages", "engine fill memory", kGigabyte, "GB/s");
  table.absolute("the machine: copy from page cache into fresh pages", "engine fill disk", kGigabyte, "GB/s");
  for (std::string who : {"engine", "criu"}) {
    if (!samples.has("memory " + who + " dump memory") && !samples.has("huge " + who + " dump memory")) continue;
    auto ratio = [&](const std::string& label, const std::string& over, const std::string& under) {
      table.ratio((who + label).c_str(), (who + over).c_str(), under.c_str());
    };
    ratio(": dump to tmpfs / (read + write to tmpfs)", " dump memory", who + " read+write memory");
    ratio(": the same, by CPU time", " dump memory cpu", who + " read+write memory cpu");
    ratio(": dump to disk, synced / (read + write, not synced)", " dump disk", who + " read+write disk");
    ratio(": dump to tmpfs / memcpy", " dump memory", "memcpy");
    ratio(": restore from tmpfs / copy into fresh pages", " restore memory", who + " fill memory");
    ratio(": the same, by CPU time", " restore memory cpu", who + " fill memory cpu");
    ratio(": restore from disk / copy into fresh pages", " restore disk", who + " fill disk");
    ratio(": restore from tmpfs / populate", " restore memory", "populate");
    ratio(": restore from disk / populate", " restore disk", "populate");
    ratio(": restore from tmpfs / memcpy", " restore memory", "memcpy");
    table.absolute((who + ": huge pages restored as such, of 1").c_str(), (who + " huge").c_str(), 1, "");
    if (who == "engine")
      table.absolute("engine: frozen by a dump that leaves it running", "engine frozen", kMillisecond, "ms");
    table.absolute((who + ": that dump as a whole").c_str(), (who + " look").c_str(), kMillisecond, "ms");
    table.absolute((who + ": peak memory of a dump").c_str(), (who + " dump peak").c_str(), kMebibyte, "MiB");
    table.absolute((who + ": peak memory of a restore").c_str(), (who + " restore peak").c_str(), kMebibyte, "MiB");
  }
}

}  // namespace

Result<> measure_memory(const Plan& plan) {
  Samples samples;
  for (int round = 0; round < plan.rounds; ++round)
    for (std::string pages : {"memory", "huge"}) {
      if (!plan.row.empty() && (plan.row == "huge") != (pages == "huge")) continue;
      TRY(measure_machine(plan, pages, samples));
      for (Contestant contestant : {Contestant::engine, Contestant::criu}) {
        bool criu = contestant == Contestant::criu;
        if (criu && !has_criu()) continue;
        for (const auto& [where, directory] :
             {std::pair("memory", plan.memory_directory), std::pair("disk", plan.disk_directory)})
          TRY(in(criu ? "criu" : "engine", measure_contestant(plan, pages, contestant, where, directory, samples)));
      }
    }
  print(plan, samples);
  return {};
}

}  // namespace ks::bench
