// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

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

void add(Samples& samples, const std::string& name, const Rate& rate) {
  samples.add(name, rate.bytes_per_second);
  samples.add(name + " cpu", rate.bytes_per_cpu_second);
}

Result<> measure_machine(const Plan& plan, const std::string& pages, Samples& samples) {
  uint64_t bytes = plan.mebibytes * kMebibyte;
  bool huge = pages == "huge";
  warm_up(2 * bytes);
  add(samples, pages + " memcpy", copy_rate(bytes));
  warm_up(bytes);
  add(samples, pages + " populate", populate_rate(bytes, huge));
  warm_up(bytes);
  add(samples, pages + " fill", fill_rate(bytes, huge));
  test::Workplace place;
  test::Subject subject(place, BENCH_WORKLOAD, {pages, std::to_string(plan.mebibytes)});
  if (auto trouble = subject.await_ready(); !trouble.empty()) return fail(trouble);
  std::string name = fmt::format("/kernel-swap-bench-{}.pages", ::getpid());
  for (auto [where, directory] :
       {std::pair("memory", plan.memory_directory), std::pair("disk", plan.disk_directory)}) {
    warm_up(bytes);
    add(samples, fmt::format("{} read+write {}", pages, where),
        TRY(read_and_write_rate(subject.pid(), directory + name)));
  }
  return {};
}

Result<> measure_contestant(const Plan& plan, const std::string& pages, Contestant contestant, Samples& samples) {
  uint64_t bytes = plan.mebibytes * kMebibyte;
  std::string who = pages + (contestant == Contestant::engine ? " engine" : " criu");
  for (auto [where, directory] :
       {std::pair("memory", plan.memory_directory), std::pair("disk", plan.disk_directory)}) {
    Passage passage = TRY(in(who, pass(contestant, pages, plan.mebibytes, directory, bytes)));
    add(samples, fmt::format("{} dump {}", who, where), rate(passage.dump, bytes));
    add(samples, fmt::format("{} restore {}", who, where), rate(passage.restore, bytes));
    if (std::string_view(where) == "disk") continue;
    samples.add(who + " look", passage.look.seconds);
    samples.add(who + " frozen", passage.look.frozen_seconds);
    samples.add(who + " dump peak", static_cast<double>(passage.dump.peak_bytes));
    samples.add(who + " restore peak", static_cast<double>(passage.restore.peak_bytes));
    if (passage.huge_before > 0) samples.add(who + " huge", passage.huge_after / passage.huge_before);
  }
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
  table.absolute("the machine: fill fresh pages", "fill", kGigabyte, "GB/s");
  table.absolute("the machine: process_vm_readv + write to tmpfs", "read+write memory", kGigabyte, "GB/s");
  table.absolute("the machine: process_vm_readv + write to page cache", "read+write disk", kGigabyte, "GB/s");
  for (std::string who : {"engine", "criu"}) {
    auto ratio = [&](const std::string& label, const std::string& over, const char* under) {
      table.ratio((who + label).c_str(), (who + over).c_str(), under);
    };
    if (!samples.has("memory " + who + " dump memory")) continue;
    ratio(": dump to tmpfs / (read + write to tmpfs)", " dump memory", "read+write memory");
    ratio(": the same, by CPU time", " dump memory cpu", "read+write memory cpu");
    ratio(": dump to disk, synced / (read + write, not synced)", " dump disk", "read+write disk");
    ratio(": dump to tmpfs / memcpy", " dump memory", "memcpy");
    ratio(": restore from tmpfs / fill", " restore memory", "fill");
    ratio(": the same, by CPU time", " restore memory cpu", "fill cpu");
    ratio(": restore from tmpfs / populate", " restore memory", "populate");
    ratio(": restore from disk / fill", " restore disk", "fill");
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
    for (const char* pages : {"memory", "huge"}) {
      TRY(measure_machine(plan, pages, samples));
      TRY(measure_contestant(plan, pages, Contestant::engine, samples));
      if (has_criu()) TRY(measure_contestant(plan, pages, Contestant::criu, samples));
    }
  print(plan, samples);
  return {};
}

}  // namespace ks::bench
