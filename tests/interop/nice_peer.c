/* One end of ICE by libnice, told what to do by lines and telling what happens by lines.
 *
 * nice_peer ROLE NOMINATION TRANSPORT RELAYED [STUN_HOST STUN_PORT [USER PASSWORD]]
 *
 * In:  ufrag U, pwd P, candidate LINE, end, send HEX, quit
 * Out: ufrag U, pwd P, candidate LINE, end, ready LOCAL_TYPE REMOTE_TYPE, failed, data HEX
 */
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT NICE_COMPONENT_TYPE_RTP
#define MOST 65536

static GMainLoop *loop;
static NiceAgent *agent;
static guint stream;
static char ufrag[300], pwd[300];
static const char *const TYPES[] = {"host", "srflx", "prflx", "relay"};

static void candidate_found(NiceAgent *by, NiceCandidate *candidate, gpointer unused) {
    gchar *line = nice_agent_generate_local_candidate_sdp(by, candidate);
    (void)unused;
    printf("candidate %s\n", line + strlen("a=candidate:"));
    g_free(line);
}

static void gathered(NiceAgent *by, guint of, gpointer unused) {
    (void)by, (void)of, (void)unused;
    printf("end\n");
}

static void state_changed(NiceAgent *by, guint of, guint component, guint state, gpointer unused) {
    NiceCandidate *local, *remote;
    (void)unused;
    if (state == NICE_COMPONENT_STATE_READY && nice_agent_get_selected_pair(by, of, component, &local, &remote))
        printf("ready %s %s\n", TYPES[local->type], TYPES[remote->type]);
    else if (state == NICE_COMPONENT_STATE_FAILED)
        printf("failed\n");
}

static void received(NiceAgent *by, guint of, guint component, guint size, gchar *data, gpointer unused) {
    (void)by, (void)of, (void)component, (void)unused;
    printf("data ");
    for (guint at = 0; at < size; at++)
        printf("%02x", (unsigned char)data[at]);
    printf("\n");
}

static void take_candidate(const char *words) {
    gchar *line = g_strconcat("a=candidate:", words, NULL);
    NiceCandidate *candidate = nice_agent_parse_remote_candidate_sdp(agent, stream, line);
    GSList *list;
    if (candidate == NULL) {
        printf("not understood: %s\n", line);
    } else {
        candidate->component_id = COMPONENT;
        list = g_slist_append(NULL, candidate);
        if (nice_agent_set_remote_candidates(agent, stream, COMPONENT, list) < 0)
            printf("not taken: %s\n", line);
        g_slist_free_full(list, (GDestroyNotify)nice_candidate_free);
    }
    g_free(line);
}

static void send_hex(const char *hex) {
    static char data[MOST];
    guint size = 0;
    unsigned int octet;
    for (; size < MOST && sscanf(hex + 2 * size, "%2x", &octet) == 1; size++)
        data[size] = (char)octet;
    if (nice_agent_send(agent, stream, COMPONENT, size, data) != (gint)size)
        printf("not sent\n");
}

static gboolean obey(GIOChannel *channel, GIOCondition condition, gpointer unused) {
    gchar *line = NULL;
    gsize end;
    (void)condition, (void)unused;
    if (g_io_channel_read_line(channel, &line, NULL, &end, NULL) != G_IO_STATUS_NORMAL) {
        g_main_loop_quit(loop);
        return FALSE;
    }
    line[end] = '\0';
    if (sscanf(line, "ufrag %299s", ufrag) == 1)
        ;
    else if (sscanf(line, "pwd %299s", pwd) == 1)
        nice_agent_set_remote_credentials(agent, stream, ufrag, pwd);
    else if (g_str_has_prefix(line, "candidate "))
        take_candidate(line + strlen("candidate "));
    else if (strcmp(line, "end") == 0)
        nice_agent_peer_candidate_gathering_done(agent, stream);
    else if (g_str_has_prefix(line, "send "))
        send_hex(line + strlen("send "));
    else
        g_main_loop_quit(loop);
    g_free(line);
    return TRUE;
}

int main(int count, char **words) {
    NiceAgentOption options = NICE_AGENT_OPTION_ICE_TRICKLE | NICE_AGENT_OPTION_CONSENT_FRESHNESS;
    NiceAddress address;
    gchar *own_ufrag, *own_pwd;
    GIOChannel *orders = g_io_channel_unix_new(0);
    if (count < 5)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    loop = g_main_loop_new(NULL, FALSE);
    if (strcmp(words[2], "regular") == 0)
        options |= NICE_AGENT_OPTION_REGULAR_NOMINATION;
    agent = nice_agent_new_full(g_main_loop_get_context(loop), NICE_COMPATIBILITY_RFC5245, options);
    g_object_set(agent, "controlling-mode", strcmp(words[1], "controlling") == 0, "upnp", FALSE, "ice-udp",
                 strcmp(words[3], "udp") == 0, "ice-tcp", strcmp(words[3], "tcp") == 0, "force-relay",
                 strcmp(words[4], "relayed") == 0, NULL);
    if (count > 6)
        g_object_set(agent, "stun-server", words[5], "stun-server-port", atoi(words[6]), NULL);
    nice_address_init(&address);
    nice_address_set_from_string(&address, "127.0.0.1");
    nice_agent_add_local_address(agent, &address);
    g_signal_connect(agent, "new-candidate-full", G_CALLBACK(candidate_found), NULL);
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(gathered), NULL);
    g_signal_connect(agent, "component-state-changed", G_CALLBACK(state_changed), NULL);
    stream = nice_agent_add_stream(agent, 1);
    nice_agent_set_stream_name(agent, stream, "application");
    if (count > 8)
        nice_agent_set_relay_info(agent, stream, COMPONENT, words[5], atoi(words[6]), words[7], words[8],
                                  NICE_RELAY_TYPE_TURN_UDP);
    nice_agent_attach_recv(agent, stream, COMPONENT, g_main_loop_get_context(loop), received, NULL);
    nice_agent_get_local_credentials(agent, stream, &own_ufrag, &own_pwd);
    printf("ufrag %s\npwd %s\n", own_ufrag, own_pwd);
    if (!nice_agent_gather_candidates(agent, stream))
        printf("failed\n");
    g_io_add_watch(orders, G_IO_IN | G_IO_HUP, obey, NULL);
    g_main_loop_run(loop);
    g_free(own_ufrag);
    g_free(own_pwd);
    g_object_unref(agent);
    return 0;
}
