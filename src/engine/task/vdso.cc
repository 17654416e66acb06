// SPDX-License-Identifier: LGPL-2.1-or-later
// The vDSO (vdso(7)). The C library has looked up its functions once and keeps pointers into it, but every kernel
// lays it out anew. The same vDSO is moved to where the old one was. Of another one, the old text stays as plain
// memory at its home, with each function turned into a jump to the new kernel's, which stays where the
// engine parked it. A later swap finds the text at home and turns its functions again: nothing piles up.
#include "engine/kernel/vdso.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "engine/task/room.h"
#include "engine/vdso.pb.h"

namespace ks::engine {

namespace {

bool is_vdso_area(const Vma& area) { return area.path == "[vdso]" || area.path.starts_with("[vvar"); }

const Vma* area_at(const StoppedProcess& process, uint64_t start) {
  auto found = std::ranges::find(process.areas, start, &Vma::start);
  return found == process.areas.end() ? nullptr : &*found;
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  if (dumping.shares_memory(stopped.pid)) return {};
  image::VdsoState out;
  for (const Vma& area : stopped.areas) {
    if (!is_vdso_area(area)) continue;
    if (area.has("sl"))
      dumping.refuse(stopped.pid, area.path, "sealed by this kernel (CONFIG_MSEAL_SYSTEM_MAPPINGS)");
    auto* written = out.add_areas();
    written->set_name(area.path);
    written->set_start(area.start);
    written->set_end(area.end);
  }
  out.set_home(auxv_entry(TRY(read_record(stopped.proc("auxv"))), AT_SYSINFO_EHDR));
  if (const Vma* home = area_at(stopped, out.home())) {
    std::string text(home->size(), '\0');
    TRY(in("vdso", stopped.memory->read({home->start}, std::as_writable_bytes(std::span(text)))));
    // Our own foothold lies in the padding.
    std::fill_n(text.begin() + EI_PAD, EI_NIDENT - EI_PAD, '\0');
    auto parsed = parse_vdso(std::as_bytes(std::span(text)));
    if (!parsed) dumping.refuse(stopped.pid, "vdso", parsed.error().what);
    out.set_text(std::move(text));
  } else if (out.home()) {
    dumping.refuse(stopped.pid, "vdso", "is not where the program was told it is");
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> move(RestoredProcess& process, const Vma& area, uint64_t to) {
  uint64_t at =
      TRY(process.leader()(SYS_mremap, area.start, area.size(), area.size(), MREMAP_MAYMOVE | MREMAP_FIXED, to));
  if (at != to) return fail("the vDSO cannot be moved");
  return {};
}

// The areas have the same names and sizes in the same order without holes that differ.
bool same_layout(const image::VdsoState& before, const ParkedVdso& now) {
  if (before.areas_size() != static_cast<int>(now.areas.size())) return false;
  for (int i = 0; i < before.areas_size(); ++i) {
    const auto& a = before.areas(i);
    const auto& b = now.areas[static_cast<size_t>(i)];
    if (a.name() != b.path || a.end() - a.start() != b.size() ||
        a.start() - before.areas(0).start() != b.start - now.areas[0].start)
      return false;
  }
  return true;
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (process.shares_memory()) return {};
  auto before = TRY(process.read<image::VdsoState>(room.name, room.version));
  if (!before.home()) return {};  // the program never knew one
  const ParkedVdso& parked = restoring.vdso;
  Vdso old = TRY(in("the image's vDSO", parse_vdso(std::as_bytes(std::span(before.text())))));
  Vdso now = TRY(in("this kernel's vDSO", parse_vdso(parked.image)));

  bool at_home = before.areas_size() && before.areas(before.areas_size() - 1).start() == before.home();
  if (at_home && old.build_id == now.build_id && same_layout(before, parked)) {
    uint64_t to = before.areas(0).start(), from = parked.areas.front().start;
    for (const Vma& area : parked.areas) TRY(move(process, area, to + (area.start - from)));
    for (auto& [pid, other] : restoring.processes)
      if (other->memory_of == process.pid) other->leader().move_instruction(before.home() + parked.syscall_offset);
    return {};
  }

  auto patches = TRY(redirect_vdso(old, now, parked.code().start));
  std::string text = before.text();
  for (const VdsoPatch& patch : patches) {
    if (patch.offset + patch.bytes.size() > text.size()) return fail("the vDSO's text is too short");
    std::memcpy(text.data() + patch.offset, patch.bytes.data(), patch.bytes.size());
  }
  if (at_home) {
    uint64_t at = TRY(process.leader()(SYS_mmap, before.home(), text.size(), PROT_READ | PROT_EXEC,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (at != before.home()) return fail("the old vDSO's place is taken");
  }  // else an earlier swap left the text there, and it is among the process's memory
  return process.memory->write({before.home()}, std::as_bytes(std::span(text)));
}

}  // namespace

extern const TaskRoom kVdso;
const TaskRoom kVdso{.name = "vdso", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
