import com.cdancy.jenkins.rest.JenkinsApi;
import com.cdancy.jenkins.rest.JenkinsClient;
import com.cdancy.jenkins.rest.domain.common.IntegerResponse;
import com.cdancy.jenkins.rest.domain.common.RequestStatus;
import com.cdancy.jenkins.rest.domain.job.BuildInfo;
import com.cdancy.jenkins.rest.domain.job.ProgressiveText;
import com.cdancy.jenkins.rest.domain.queue.Executable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * The scenario of ../README.md with io.github.cdancy:jenkins-rest.
 *
 * <p>With {@code apiToken} the library never asks for a crumb. With {@code credentials}, its way for
 * passwords, it asks once, by {@code xpath=concat(//crumbRequestField,":",//crumb)}, and sends that
 * crumb and the session cookie with every POST for the rest of its life. Either way it follows the 302
 * after stop and doDelete with another POST: that is how jclouds, its HTTP layer, does it.
 */
public final class Scenario {
  private static final long DEADLINE = System.nanoTime() + 50_000_000_000L;

  private final String job = env("JENKINS_JOB");
  private final JenkinsApi jenkins;

  private Scenario(JenkinsApi jenkins) {
    this.jenkins = jenkins;
  }

  public static void main(String[] args) throws Exception {
    JenkinsClient.Builder builder = JenkinsClient.builder().endPoint(env("JENKINS_URL"));
    String login = env("JENKINS_USER") + ":" + env("JENKINS_TOKEN");
    if (System.getenv("JENKINS_PASSWORD_LOGIN") != null) {
      builder.credentials(login);
    } else {
      builder.apiToken(login);
    }
    try (JenkinsClient client = builder.build()) {
      new Scenario(client.api()).run();
    }
  }

  private void run() throws Exception {
    String user = env("JENKINS_USER");
    // The library names the user in the path, so the cause of the build below is the better proof.
    check(jenkins.userApi().get().id().equals(user), "whoami");
    check(jenkins.systemApi().systemInfo().jenkinsVersion() != null, "no X-Jenkins header");
    done("whoami");

    check(!listed(), "job is there before it was made");
    done("list");

    String config = Files.readString(Path.of(env("JENKINS_JOB_XML")));
    check(jenkins.jobsApi().create(null, job, config));
    check(listed(), "job is missing from the list");
    done("create");

    check(jenkins.jobsApi().config(null, job).contains("first version"), "config was not stored");
    String changed = config.replace("first version", "zweite Größe ☃");
    check(jenkins.jobsApi().config(null, job, changed), "update was refused");
    check(jenkins.jobsApi().config(null, job).contains("zweite Größe ☃"), "config was not changed");
    done("config");

    String greeting = "hello & grüß ☃";
    int item = build(greeting, "2s");
    done("build");
    int number = follow(item);
    BuildInfo info = info(number);
    check(
        info.actions().stream()
            .flatMap(a -> a.parameters().stream())
            .anyMatch(p -> p.name().equals("GREETING") && greeting.equals(p.value())),
        "parameters: " + info.actions());
    check(
        info.actions().stream()
            .flatMap(a -> a.causes().stream())
            .anyMatch(c -> user.equals(c.userId())),
        "causes: " + info.actions());
    done("queue");

    readConsole(number);
    info = info(number);
    check("SUCCESS".equals(info.result()) && !info.building(), "build: " + info);
    done("console");

    int endless = follow(build("x", "1h"));
    check(info(endless).building(), "the long build is over at once");
    check(jenkins.jobsApi().stop(null, job, endless));
    await(() -> info(endless).building() ? null : true, "the end of the build");
    check("ABORTED".equals(info(endless).result()), "stopped build: " + info(endless));
    done("stop");

    check(jenkins.jobsApi().delete(null, job));
    check(jenkins.jobsApi().jobInfo(null, job) == null, "job is still there");
    check(!listed(), "job is still in the list");
    done("delete");
  }

  private boolean listed() {
    return jenkins.jobsApi().jobList("").jobs().stream().anyMatch(j -> j.name().equals(job));
  }

  private BuildInfo info(int number) {
    return jenkins.jobsApi().buildInfo(null, job, number);
  }

  /** Starts a build and returns the number of its queue item. */
  private int build(String greeting, String duration) {
    Map<String, List<String>> parameters = Map.of("GREETING", List.of(greeting), "DURATION", List.of(duration));
    IntegerResponse item = jenkins.jobsApi().buildWithParameters(null, job, parameters);
    check(item.value() != null, "build: " + item.errors());
    return item.value();
  }

  /** Returns the number of the build that a queue item became. */
  private int follow(int item) throws InterruptedException {
    Executable build =
        await(() -> jenkins.queueApi().queueItem(item).executable(), "queue item " + item + " to start");
    return build.number();
  }

  /** Reads the console piece by piece to its end. */
  private void readConsole(int number) throws InterruptedException {
    StringBuilder text = new StringBuilder();
    int chunks = 0;
    for (int start = 0; ; ) {
      ProgressiveText piece = jenkins.jobsApi().progressiveText(null, job, number, start);
      if (!piece.text().isEmpty()) {
        chunks++;
      }
      text.append(piece.text());
      start = piece.size();
      check(
          start == text.toString().getBytes(StandardCharsets.UTF_8).length,
          "X-Text-Size " + start + " after: " + text);
      if (!piece.hasMoreData()) {
        break;
      }
      check(System.nanoTime() < DEADLINE, "the console does not end");
      Thread.sleep(50);
    }
    check(chunks > 1, "the console came in one piece");
    check(text.toString().stripTrailing().endsWith("Finished: SUCCESS"), "console: " + text);
    String whole = jenkins.jobsApi().progressiveText(null, job, number, 0).text();
    check(text.toString().equals(whole), "pieces differ from the whole");
  }

  private static <T> T await(Supplier<T> ready, String what) throws InterruptedException {
    T value;
    while ((value = ready.get()) == null) {
      check(System.nanoTime() < DEADLINE, "waited in vain for " + what);
      Thread.sleep(50);
    }
    return value;
  }

  private static void check(RequestStatus status) {
    check(Boolean.TRUE.equals(status.value()), "refused: " + status.errors());
  }

  private static void check(boolean ok, String message) {
    if (!ok) {
      throw new IllegalStateException("FAIL: " + message);
    }
  }

  private static void done(String step) {
    System.out.println("done: " + step);
  }

  private static String env(String name) {
    String value = System.getenv(name);
    check(value != null, name + " is not set");
    return value;
  }
}
