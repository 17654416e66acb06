// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/engine.h"

#include <unistd.h>

#include <chrono>

#include "engine/context/pages.h"
#include "engine/context/waiting.h"
#include "engine/descriptors.pb.h"
#include "engine/dump.h"
#include "engine/image/store.h"
#include "engine/kernel/io_uring.h"
#include "engine/kernel/landlock.h"
#include "engine/kernel/socket.h"
#include "engine/kernel/socket_insides.h"
#include "engine/layout.pb.h"
#include "engine/mapped_files.pb.h"
#include "engine/memory.pb.h"
#include "engine/restore.h"
#include "engine/target/members.h"
#include "engine/target/tree.h"
#include "engine/threads.pb.h"
#include "engine/tree.pb.h"

namespace ks::engine {

using Clock = std::chrono::steady_clock;

struct Frozen::State {
  const Kernel kernel;
  FrozenTree tree;
  Clock::time_point since;
  Verdict verdict;
  std::vector<Fd> connections;
};

struct Engine::State {
  Kernel kernel;
};

Frozen::Frozen(std::unique_ptr<State> state) : state_(std::move(state)) {}
Frozen::Frozen(Frozen&&) noexcept = default;
Frozen& Frozen::operator=(Frozen&&) noexcept = default;
Frozen::~Frozen() = default;

const Verdict& Frozen::verdict() const { return state_->verdict; }

Result<DumpReport> Frozen::dump(const std::string& directory, const DumpOptions& options) {
  ImageWriter image = TRY(ImageWriter::create(directory));
  DumpReport report =
      TRY(dump_tree(state_->kernel, state_->tree, options, &image, state_->verdict, state_->connections));
  report.frozen_seconds = std::chrono::duration<double>(Clock::now() - state_->since).count();
  TRY(image.commit(options.journal.unit));
  return report;
}

Result<DumpReport> Frozen::examine(const DumpOptions& options) {
  DumpReport report =
      TRY(dump_tree(state_->kernel, state_->tree, options, nullptr, state_->verdict, state_->connections));
  report.frozen_seconds = std::chrono::duration<double>(Clock::now() - state_->since).count();
  return report;
}

Result<> Frozen::kill() {
  TRY(state_->tree.kill_with_us());
  // What is closed under repair says no word to its peer. Should we be killed now, so are they.
  for (const Fd& connection : state_->connections) TRY(silence_connection(connection.get()));
  return state_->tree.kill();
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::open() {
  if (::geteuid() != 0) return fail("must be run as root", EPERM);
  Kernel kernel = TRY(probe_kernel());
  if (!kernel.checkpoint_restore) return refuse("this kernel is built without CONFIG_CHECKPOINT_RESTORE");
  return Engine(std::make_unique<State>(State{std::move(kernel)}));
}

namespace {

Result<std::vector<pid_t>> members_of(const Target& target) {
  return target.cgroup.empty() ? list_tree(target.root) : list_cgroup(target.cgroup);
}

}  // namespace

Result<WaitingSockets> Engine::waiting(const Target& target) const { return find_waiting(TRY(members_of(target))); }

void Engine::prepare(const Target& target, const NextKernel& next) const {
  if (auto pids = members_of(target); pids && have_rings(*pids)) (void)next.facts();
}

Result<Frozen> Engine::freeze(const Target& target) const {
  if (auto pids = members_of(target); pids && show_sockets(*pids)) prepare_to_look_into_sockets();
  prepare_to_look_for_landlock();
  prepare_to_look_into_rings();
  auto since = Clock::now();
  FrozenTree tree = TRY(FrozenTree::freeze(target.cgroup, target.root));
  return Frozen(std::unique_ptr<Frozen::State>(new Frozen::State{state_->kernel, std::move(tree), since, {}, {}}));
}

Result<RestoreReport> Engine::restore(const std::string& directory, const RestoreOptions& options) const {
  auto restored = restore_image(state_->kernel, directory, options);
  // In a user namespace nobody may choose PIDs, but waits for their turn; somebody else's fork may be faster. Nothing
  // is left of an attempt that fails.
  if (!restored && restored.error().code == EEXIST) restored = restore_image(state_->kernel, directory, options);
  return restored;
}

Result<> Engine::verify(const std::string& directory) { return verify_image(TRY(ImageReader::open(directory))); }

namespace {

template <class Message>
Result<> read_room(const std::vector<Envelope>& envelopes, std::string_view kind, Message& into) {
  for (const Envelope& envelope : envelopes)
    if (envelope.kind == kind) return parse_body(envelope, into);
  return fail("no " + std::string(kind));
}

Result<ImageSummary::Process> summarize(const ImageReader& image, const image::Tree::Process& process,
                                        const image::MappedFileList& mapped) {
  auto envelopes = TRY(open_envelopes(TRY(image.read(process_file(process.pid())))));
  // Of memory that several processes share, the first one tells.
  pid_t teller = process.memory_of() ? process.memory_of() : process.pid();
  auto of_memory = TRY(open_envelopes(TRY(image.read(process_file(teller)))));
  image::Threads threads;
  image::Memory memory;
  image::Descriptors descriptors;
  image::Layout layout;
  TRY(read_room(envelopes, "threads", threads));
  TRY(read_room(of_memory, "memory", memory));
  TRY(read_room(envelopes, "descriptors", descriptors));
  TRY(read_room(of_memory, "layout", layout));
  ImageSummary::Process summary{
      .pid = process.pid(), .ppid = process.parent(), .pgid = process.group(), .sid = process.session()};
  if (threads.threads_size()) summary.comm = threads.threads(0).comm();
  for (const auto& file : mapped.files())
    if (file.id() == layout.executable()) summary.executable = file.path();
  summary.threads = static_cast<uint64_t>(threads.threads_size());
  summary.areas = static_cast<uint64_t>(memory.areas_size());
  summary.descriptors = static_cast<uint64_t>(descriptors.descriptors_size());
  for (const auto& name : {pages_file(process.pid()), inherited_pages_file(process.pid())})
    if (auto file = image.file(name)) summary.memory_bytes += file->bytes;
  return summary;
}

}  // namespace

Result<ImageSummary> Engine::inspect(const std::string& directory) {
  ImageReader image = TRY(ImageReader::open(directory));
  ImageSummary summary{.format = image.format(),
                       .architecture = image.architecture(),
                       .kernel = image.kernel(),
                       .unit = image.unit(),
                       .created = image.created()};
  for (const auto& [name, file] : image.files()) summary.files.push_back({name, file.bytes, file.digest});
  image::Tree tree;
  TRY(parse_body(TRY(open_envelope(TRY(image.read(kTreeFile)), kTreeKind, kTreeVersion)), tree));
  image::MappedFileList mapped;
  TRY(parse_body(TRY(open_envelope(TRY(image.read("mapped-files.ks")), "mapped-files", 1)), mapped));
  for (const auto& file : mapped.files())
    summary.mapped_files.push_back({.path = file.path(), .build_id = file.build_id(), .bytes = file.bytes()});
  for (const auto& process : tree.processes())
    summary.processes.push_back(TRY(in(process_file(process.pid()), summarize(image, process, mapped))));
  std::map<std::pair<std::string, uint32_t>, uint64_t> kinds;
  for (const auto& envelope : TRY(open_envelopes(TRY(image.read(kOpenFilesFile)))))
    ++kinds[{envelope.kind, envelope.version}];
  for (const auto& [kind, count] : kinds) summary.open_files.push_back({kind.first, kind.second, count});
  return summary;
}

}  // namespace ks::engine
