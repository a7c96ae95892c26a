import { MonitoringDashboard } from "otel-bridge-dashboard";

export default function Page() {
  return <MonitoringDashboard baseUrl={process.env.NEXT_PUBLIC_COLLECTOR_URL} />;
}
